//! Whole calls: a real caller, Tandem, and a simulated PersonaPlex server, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use secrecy::SecretString;
use tandem::{
    auth::UserId,
    config,
    gateway::{Gateway, Rehearsal},
    pool::roster::SlotState,
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, CallReport, CallerSettings, Credential, HangUp, Pace, Wire},
        upstream::{self, Answer, Simulator},
        wav,
    },
};

const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    gateway: Gateway,
    servers: Vec<Simulator>,
}

impl House {
    async fn with(settings: upstream::Settings, count: usize, extra: &[(&str, &str)]) -> House {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(Simulator::start(settings.clone()).await.unwrap());
        }
        let urls: Vec<String> = servers.iter().map(Simulator::url).collect();
        let mut environment: BTreeMap<String, String> = [
            ("PERSONAPLEX_SERVER_URL".to_owned(), urls.join(",")),
            ("PORT".to_owned(), "0".to_owned()),
            ("JWT_SECRET".to_owned(), "0123456789abcdef0123456789abcdef".to_owned()),
        ]
        .into();
        environment.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let settings = config::load(None, &environment).unwrap();
        let gateway =
            Gateway::start(&settings, &SecretString::from(""), Rehearsal { workers: 1, ..Rehearsal::default() })
                .unwrap();
        House { gateway, servers }
    }

    fn token(&self, user: &str) -> SecretString {
        let now = tandem::http::identity::unix_now_seconds();
        self.gateway.tokens.mint(&UserId::new(user).unwrap(), Duration::from_secs(60), now).unwrap()
    }

    fn caller(&self, wire: Wire) -> CallerSettings {
        let mut settings = CallerSettings::new(format!("http://{}", self.gateway.address));
        settings.wire = wire;
        settings.credential = Credential::Bearer(self.token("ann"));
        settings.pace = Pace::Times(4.0);
        settings
    }
}

fn speech() -> Arc<[f32]> {
    wav::read(std::path::Path::new("tests/audio/speech_made.wav")).unwrap().into()
}

#[actix_web::test]
async fn the_callers_voice_comes_back() {
    let answer = Answer::Echo { delay: Duration::from_millis(800) };
    let house = House::with(upstream::Settings { answer, ..upstream::Settings::instant() }, 1, &[]).await;
    for wire in [Wire::Native(Audio::Pcm16 { rate_hz: 24_000 }), Wire::Moshi] {
        let mut settings = house.caller(wire);
        settings.source = speech();
        settings.hang_up = HangUp::AfterSource { tail: Duration::from_millis(500) };
        let report: CallReport = caller::call(settings).await;
        println!("{}", serde_json::to_string(&report).unwrap());
    }
    house.servers[0].wait_for(|calls| calls.iter().all(|call| call.end.is_some()), PATIENCE).await.unwrap();
    println!("{:?}", house.gateway.slots().await);
    println!("{}", house.gateway.metrics.render());
    house.gateway.stop().await;
}
