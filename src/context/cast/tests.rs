use secrecy::ExposeSecret as _;

use super::*;
use crate::{
    context::recap::{RECAP_TOKENS, Said, continuation},
    protocol::moshi::tokens_estimate,
};

/// A directory of personas, removed at the end.
struct Shelf(PathBuf);

impl Shelf {
    fn new(files: &[(&str, &str)]) -> Shelf {
        let path = std::env::temp_dir().join(format!("tandem-cast-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        files.iter().for_each(|(name, text)| fs::write(path.join(name), text).unwrap());
        Shelf(path)
    }

    fn load(&self) -> Result<Cast, CastError> {
        Cast::load(&CastSettings {
            default: "assistant".into(),
            directory: Some(self.0.clone()),
            ..CastSettings::default()
        })
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings() -> CastSettings {
    CastSettings { default: "assistant".into(), ..CastSettings::default() }
}

const COACH: &str = "name = \"coach\"\ndescription = \"Coaches.\"\nvoice = \"VARM4\"\nscope = \"sport\"\n\
                     template = \"You are a coach.\"\n[budget]\ntokens = 40\n";

#[test]
fn the_built_in_personas_are_good_and_need_no_advice() {
    let cast = Cast::load(&settings()).unwrap();
    assert_eq!(cast.names(&[]), ["assistant", "listener", "service"]);
    assert_eq!(cast.advice(), []);
    assert_eq!(BUILT_IN.map(|(name, _)| name).to_vec(), cast.names(&[]));
    assert!(cast.all().all(|persona| !persona.description.is_empty()));
    let assistant = cast.find(None, &[]).unwrap();
    assert_eq!((assistant.name.as_str(), assistant.voice), ("assistant", Voice::Natf0));
}

#[test]
fn a_directory_adds_personas_and_replaces_those_that_are_built_in() {
    let other = COACH.replace("coach", "listener").replace("scope = \"sport\"\n", "");
    let shelf = Shelf::new(&[("coach.toml", COACH), ("listener.toml", &other), ("notes.txt", "not one")]);
    let cast = shelf.load().unwrap();
    assert_eq!(cast.names(&["sport".to_owned()]), ["assistant", "coach", "listener", "service"]);
    assert_eq!(cast.find(Some("listener"), &[]).unwrap().voice, Voice::Varm4);
}

#[test]
fn a_persona_with_a_scope_is_for_those_who_have_it() {
    let cast = Shelf::new(&[("coach.toml", COACH)]).load().unwrap();
    assert_eq!(cast.find(Some("coach"), &["voice".to_owned()]).unwrap_err(), NoPersona::Forbidden);
    assert_eq!(cast.find(Some("nobody"), &[]).unwrap_err(), NoPersona::Unknown);
    assert!(cast.find(Some("coach"), &["voice".to_owned(), "sport".to_owned()]).is_ok());
    assert!(!cast.names(&[]).contains(&"coach".to_owned()), "nobody is told of what is not for them");
}

#[test]
fn the_default_may_have_another_voice_and_another_prompt() {
    let changed = CastSettings { voice: Some(Voice::Varm0), prompt: Some("Be kind.".into()), ..settings() };
    let cast = Cast::load(&changed).unwrap();
    let persona = cast.find(None, &[]).unwrap();
    assert_eq!((persona.voice, persona.bare().expose_secret()), (Voice::Varm0, "Be kind."));
    assert!(!persona.sees_context());
    assert_eq!(cast.find(Some("listener"), &[]).unwrap().voice, Voice::Natf2, "the others stay as they are");
}

#[test]
fn every_flaw_of_every_file_is_told_at_once_with_its_place() {
    let bad = COACH.replace("VARM4", "VARM9").replace("a coach.", "a coach");
    let typo = COACH.replace("coach", "typo").replace("scope", "scoop");
    let shelf = Shelf::new(&[("coach.toml", &bad), ("typo.toml", &typo)]);
    let told = shelf.load().unwrap_err().to_string();
    for expected in [
        "- persona coach, line 3, column 9: there is no such voice; voices are NATF0",
        "- persona coach, line 5, column 12: the prompt does not end with a period",
        "- persona typo, line 4, column 1: unknown field `scoop`",
    ] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let missing = CastSettings { directory: Some("no/such/directory".into()), ..settings() };
    assert!(
        Cast::load(&missing).unwrap_err().to_string().starts_with("no/such/directory (persona.dir) cannot be read")
    );
    let unknown = CastSettings { default: "nobody".into(), ..settings() };
    assert_eq!(
        Cast::load(&unknown).unwrap_err().to_string(),
        "persona.default names no persona; there are assistant, listener, service"
    );
    let long = Shelf::new(&[("long.toml", &" ".repeat(70_000))]);
    assert!(long.load().unwrap_err().to_string().contains("longer than 65536 bytes"));
    let inside = Shelf::new(&[("inside.toml", &format!(" {}", "é".repeat(40_000)))]);
    assert!(inside.load().unwrap_err().to_string().contains("longer than 65536 bytes"));
    let binary = Shelf::new(&[]);
    fs::write(binary.0.join("binary.toml"), [0xff, 0xfe]).unwrap();
    assert!(binary.load().unwrap_err().to_string().contains("it is no text in UTF-8"));
    let many: Vec<(String, &str)> = (0..65).map(|n| (format!("p{n}.toml"), "")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    assert_eq!(Shelf::new(&many).load().unwrap_err(), CastError::TooMany);
}

#[test]
fn a_file_may_begin_with_a_mark_of_its_encoding() {
    let marked = Shelf::new(&[("coach.toml", &format!("\u{feff}{COACH}"))]);
    assert!(marked.load().is_ok());
}

#[test]
fn a_server_that_goes_on_hears_who_each_built_in_persona_is_and_its_rules() {
    let cast = Cast::load(&settings()).unwrap();
    let mut said = Said::default();
    said.push("Hello there. So your sister Marie moved to Lyon on May 3. Do you want to talk about it?");
    for (name, whole) in [
        ("assistant", vec!["You are a wise and friendly teacher."]),
        ("listener", vec!["You are Clara,", " listener.", "Give no diagnosis.", "danger to the emergency services."]),
        ("service", vec!["You work for Aurora Wellness which is a wellness studio and your name is Daniel Brooks."]),
    ] {
        let short = cast.find(Some(name), &[]).unwrap().short();
        let prompt = continuation(short, &said, RECAP_TOKENS);
        let prompt = prompt.expose_secret();
        assert!(whole.iter().all(|words| prompt.contains(words)), "{prompt}");
        let (role, words) = prompt.split_once(" In this call you said: ").unwrap();
        assert!(role.ends_with('.') && words.contains("talk about it?") && words.ends_with("Go on."), "{prompt}");
        assert!(tokens_estimate(prompt) <= RECAP_TOKENS, "{prompt}");
    }
    assert_eq!(BUILT_IN.len(), 3, "each is in the table above");
}
