//! What is said of one model server behind the `#` of its address: `#pin=sha256:..&capacity=1&region=eu`.

use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr};

use crate::fleet::provider::{Machine, MachineError};
use crate::pool::{
    endpoint::{Labels, PersonalContext, Price},
    trust::{Pin, Trust},
};
use crate::protocol::moshi::Voice;

/// Calls that one server can be said to take at once.
const MAX_CAPACITY: u16 = 256;
/// The longest window that a model can be said to have, in steps.
const MAX_WINDOW_STEPS: u32 = 1_000_000;
/// The longest name of a model or a region, in bytes.
const MAX_LABEL_BYTES: usize = 64;

/// What is said of one model server; nothing said is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamOptions {
    /// Which certificates are accepted, if it is not left to the settings for all servers.
    pub trust: Option<Trust>,
    /// Calls that it takes at once, if that is said; else 1.
    pub capacity: Option<u16>,
    /// The model that it runs.
    pub model: Option<String>,
    /// The voices that it has; empty: all.
    pub voices: Vec<Voice>,
    /// Where it stands.
    pub region: Option<String>,
    /// What an hour of it costs.
    pub price: Option<Price>,
    /// The window of its model, in steps, if that is said.
    pub window_steps: Option<u32>,
    /// Whether every address of its name is a server of its own, looked up again and again.
    pub dns: bool,
    /// Whether it may be told of callers.
    pub personal: Option<PersonalContext>,
    /// The machine that it runs on, if Tandem starts and stops that.
    pub machine: Option<Machine>,
}

/// Why a text is not what can be said of a model server. No message repeats it: it may have been meant as a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamOptionsError {
    /// A key that there is not.
    #[error(
        "after # only pin, ca, insecure, capacity, model, voices, region, price, window, dns, personal_context and provider, \
         with & between them"
    )]
    Unknown,
    /// A key twice.
    #[error("{0} only once after #")]
    Doubled(&'static str),
    /// A switch with a value.
    #[error("{0} without a value")]
    Switch(&'static str),
    /// Not a pin.
    #[error("pin=sha256: and 44 characters of base64, as tandem check prints it")]
    Pin,
    /// No path.
    #[error("ca= and the path of a PEM file")]
    Ca,
    /// Two ways to trust.
    #[error("only one of pin, ca and insecure")]
    Trusts,
    /// Not a number of calls.
    #[error("capacity= and a whole number from 1 to {MAX_CAPACITY}")]
    Capacity,
    /// Not a name.
    #[error("{0}= and 1 to {MAX_LABEL_BYTES} letters, digits and . _ - : /")]
    Label(&'static str),
    /// Not voices.
    #[error("voices= and names with + between them, of NATF0 to NATF3, NATM0 to NATM3, VARF0 to VARF4, VARM0 to VARM4")]
    Voices,
    /// Not a price.
    #[error("price= and a number such as 0.79, with at most 6 digits after the point")]
    Price,
    /// Not a number of steps.
    #[error("window= and a whole number from 0 to {MAX_WINDOW_STEPS}")]
    Window,
    /// Another word for how it may be told of callers.
    #[error("personal_context, or personal_context=plaintext where the network in between is private")]
    Personal,
    /// Not a machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// One machine for all servers of a name.
    #[error("only one of dns and provider: a machine has one server")]
    DnsMachine,
}

impl FromStr for UpstreamOptions {
    type Err = UpstreamOptionsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut options = Self::default();
        let mut seen: Vec<&'static str> = Vec::new();
        for item in text.split('&') {
            let (key, value) = item.split_once('=').map_or((item, None), |(key, value)| (key, Some(value)));
            let key = KEYS.into_iter().find(|known| *known == key).ok_or(UpstreamOptionsError::Unknown)?;
            if seen.contains(&key) {
                return Err(UpstreamOptionsError::Doubled(key));
            }
            seen.push(key);
            options.take(key, value)?;
        }
        if options.dns && options.machine.is_some() {
            return Err(UpstreamOptionsError::DnsMachine);
        }
        Ok(options)
    }
}

/// Everything that can be said.
const KEYS: [&str; 12] = [
    "pin",
    "ca",
    "insecure",
    "capacity",
    "model",
    "voices",
    "region",
    "price",
    "window",
    "dns",
    "personal_context",
    "provider",
];

impl UpstreamOptions {
    fn take(&mut self, key: &'static str, value: Option<&str>) -> Result<(), UpstreamOptionsError> {
        use UpstreamOptionsError as Wrong;
        let text = value.unwrap_or_default();
        match key {
            "pin" => self.trust(Trust::Pin(text.parse::<Pin>().map_err(|_| Wrong::Pin)?))?,
            "ca" if text.is_empty() => return Err(Wrong::Ca),
            "ca" => self.trust(Trust::CaFile(PathBuf::from(text)))?,
            "insecure" | "dns" if value.is_some() => return Err(Wrong::Switch(key)),
            "insecure" => self.trust(Trust::Anything)?,
            "dns" => self.dns = true,
            "personal_context" => self.personal = Some(personal(value).ok_or(Wrong::Personal)?),
            "capacity" => self.capacity = Some(number(text, 1..=MAX_CAPACITY).ok_or(Wrong::Capacity)?),
            "window" => self.window_steps = Some(number(text, 0..=MAX_WINDOW_STEPS).ok_or(Wrong::Window)?),
            "voices" => self.voices = voices(text).ok_or(Wrong::Voices)?,
            "provider" => self.machine = Some(text.parse()?),
            "price" => self.price = Some(text.parse().map_err(|_| Wrong::Price)?),
            "model" => self.model = Some(label(text).ok_or(Wrong::Label(key))?),
            _ => self.region = Some(label(text).ok_or(Wrong::Label(key))?),
        }
        Ok(())
    }

    fn trust(&mut self, trust: Trust) -> Result<(), UpstreamOptionsError> {
        match self.trust.replace(trust) {
            None => Ok(()),
            Some(_) => Err(UpstreamOptionsError::Trusts),
        }
    }

    /// What calls can choose by.
    pub fn labels(&self) -> Labels {
        Labels {
            model: self.model.clone(),
            voices: self.voices.iter().map(|voice| voice.name().to_owned()).collect(),
            region: self.region.clone(),
            price: self.price,
            window_steps: self.window_steps,
            machine: self.machine.as_ref().map(ToString::to_string),
        }
    }
}

fn number<N: FromStr + PartialOrd>(text: &str, range: RangeInclusive<N>) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && range.contains(number))
}

fn personal(value: Option<&str>) -> Option<PersonalContext> {
    match value {
        None => Some(PersonalContext::Protected),
        Some("plaintext") => Some(PersonalContext::Plaintext),
        Some(_) => None,
    }
}

/// At least one voice, and none twice.
fn voices(text: &str) -> Option<Vec<Voice>> {
    let mut voices: Vec<Voice> = Vec::new();
    for name in text.split('+') {
        let voice = name.parse().ok().filter(|voice| !voices.contains(voice))?;
        voices.push(voice);
    }
    Some(voices)
}

fn label(text: &str) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    let good = (1..=MAX_LABEL_BYTES).contains(&text.len()) && text.bytes().all(legal);
    good.then(|| text.to_owned())
}

impl fmt::Display for UpstreamOptions {
    /// As it is written behind the `#`, in the order of the list of keys; empty when nothing is said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trust = self.trust.as_ref().and_then(|trust| match trust {
            Trust::System => None,
            Trust::CaFile(path) => Some(format!("ca={}", path.display())),
            Trust::Pin(pin) => Some(format!("pin={pin}")),
            Trust::Anything => Some("insecure".to_owned()),
        });
        let voices = self.voices.iter().map(|voice| voice.name()).collect::<Vec<_>>().join("+");
        let said = [
            trust,
            self.capacity.map(|capacity| format!("capacity={capacity}")),
            self.model.as_ref().map(|model| format!("model={model}")),
            (!voices.is_empty()).then(|| format!("voices={voices}")),
            self.region.as_ref().map(|region| format!("region={region}")),
            self.price.map(|price| format!("price={price}")),
            self.window_steps.map(|steps| format!("window={steps}")),
            self.dns.then(|| "dns".to_owned()),
            self.personal.map(|personal| match personal {
                PersonalContext::Protected => "personal_context".to_owned(),
                PersonalContext::Plaintext => "personal_context=plaintext".to_owned(),
            }),
            self.machine.as_ref().map(|machine| format!("provider={machine}")),
        ];
        f.write_str(&said.into_iter().flatten().collect::<Vec<_>>().join("&"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIN: &str = "pin=sha256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    fn read(text: &str) -> Result<UpstreamOptions, UpstreamOptionsError> {
        text.parse()
    }

    #[test]
    fn everything_can_be_said_at_once() {
        let text =
            format!("{PIN}&capacity=4&model=personaplex-7b&voices=NATF0+NATM1&region=eu&price=0.79&window=3000&dns");
        let options = read(&text).unwrap();
        assert_eq!(options.to_string(), text);
        assert_eq!(options.trust, Some(Trust::Pin(Pin::new([7; 32]))));
        assert_eq!((options.capacity, options.dns), (Some(4), true));
        let labels = options.labels();
        assert_eq!(labels.voices, ["NATF0", "NATM1"]);
        assert_eq!((labels.model.as_deref(), labels.region.as_deref()), (Some("personaplex-7b"), Some("eu")));
        assert_eq!(labels.window_steps, Some(3_000));
        assert_eq!(labels.price.map(Price::millionths), Some(790_000));
        assert_eq!(
            read("ca=/etc/tls/ca file=1.pem").unwrap().trust,
            Some(Trust::CaFile("/etc/tls/ca file=1.pem".into()))
        );
        assert_eq!(read("insecure").unwrap().trust, Some(Trust::Anything));
        for (text, personal) in [
            ("personal_context", PersonalContext::Protected),
            ("personal_context=plaintext", PersonalContext::Plaintext),
        ] {
            let options = read(text).unwrap();
            assert_eq!((options.personal, options.to_string().as_str()), (Some(personal), text));
        }
        let managed = read("price=1&provider=runpod:abc").unwrap();
        assert_eq!(
            (managed.machine.clone(), managed.to_string()),
            ("runpod:abc".parse().ok(), "price=1&provider=runpod:abc".to_owned())
        );
    }

    #[test]
    fn each_mistake_has_its_own_sentence() {
        use UpstreamOptionsError::{
            Ca, Capacity, DnsMachine, Doubled, Label, Machine, Personal, Pin, Price, Switch, Trusts, Unknown, Voices,
            Window,
        };
        let long = format!("model={}", "m".repeat(65));
        let table = [
            ("", Unknown),
            ("hush", Unknown),
            ("password=hush", Unknown),
            ("dns&", Unknown),
            ("PIN=x", Unknown),
            ("dns&dns", Doubled("dns")),
            ("capacity=1&capacity=1", Doubled("capacity")),
            ("dns=1", Switch("dns")),
            ("insecure=", Switch("insecure")),
            ("pin", Pin),
            ("pin=sha256:BwcH", Pin),
            ("pin=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", Pin),
            ("ca", Ca),
            ("ca=", Ca),
            ("insecure&ca=x", Trusts),
            ("capacity", Capacity),
            ("capacity=0", Capacity),
            ("capacity=257", Capacity),
            ("capacity=+1", Capacity),
            ("model=", Label("model")),
            ("region=a b", Label("region")),
            ("region=\u{e9}", Label("region")),
            (&long, Label("model")),
            ("voices=", Voices),
            ("voices=NATF0+NATF0", Voices),
            ("voices=NATF0,NATF1", Voices),
            ("voices=NATF9", Voices),
            ("price=free", Price),
            ("window=-1", Window),
            ("window=1000001", Window),
            ("personal_context=", Personal),
            ("personal_context=yes", Personal),
            ("personal_context=plaintext&personal_context", Doubled("personal_context")),
            ("provider", Machine(MachineError::Provider)),
            ("provider=hush:1", Machine(MachineError::Provider)),
            ("provider=vast:hush", Machine(MachineError::Vast)),
            ("provider=docker:hush/", Machine(MachineError::Docker)),
            ("dns&provider=vast:1", DnsMachine),
            ("provider=vast:1&dns", DnsMachine),
            ("provider=vast:1&provider=vast:2", Doubled("provider")),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), Err(expected), "{text}");
            assert!(!expected.to_string().contains("hush"));
        }
    }

    #[test]
    fn the_sentence_about_unknown_keys_lists_all_that_there_are() {
        let sentence = UpstreamOptionsError::Unknown.to_string();
        for key in KEYS {
            assert!(sentence.contains(key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(
            items in proptest::collection::vec(
                "pin=sha256:[A-Za-z0-9+/]{42}A=|ca=[^&]{1,20}|insecure|capacity=[0-9]{1,3}|model=[a-z0-9.:/-]{1,9}\
                 |voices=NAT[FM][0-3](\\+VAR[FM][0-4])?|region=[a-z]{1,4}|price=[0-9]{1,9}(\\.[0-9]{1,6})?|window=[0-9]{1,5}|dns|personal_context(=plaintext)?\
                 |provider=(vast:[0-9]{1,3}|runpod:[a-z0-9]{1,5}|railway:[a-z]{1,3}/[a-z]{1,3})|.{0,9}",
                1..6,
            )
        ) {
            if let Ok(options) = read(&items.join("&")) {
                prop_assert_eq!(read(&options.to_string()), Ok(options));
            }
        }
    }
}
