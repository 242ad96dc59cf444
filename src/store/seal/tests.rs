//! Scripts of sealed texts.

use proptest::prelude::*;

use super::*;
use crate::{
    protocol::ending::Ending,
    store::record::{Ended, Line, MAX_TRANSCRIPT_BYTES, Origin, Record, Speaker},
};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

fn seal(list: &str) -> Seal {
    Seal::read(&list.into()).unwrap()
}

fn place(session: u128, field: Field) -> Place {
    Place { session: Uuid::from_u128(session), field }
}

const HERE: Field = Field::Line(3);

#[test]
fn a_sealed_text_says_nothing_and_is_read_in_its_place_alone() {
    let key = seal(KEY);
    let sealed = key.seal(place(1, HERE), "I have diabetes.").unwrap();
    assert!(sealed.starts_with(&format!("{SEALED}{}:", key.ids().next().unwrap())), "{sealed}");
    assert!(!sealed.contains("diabetes") && plain_bytes(&sealed) == 16);
    assert_ne!(key.seal(place(1, HERE), "I have diabetes.").unwrap(), sealed, "the same text twice is not seen");
    assert_eq!(key.open(place(1, HERE), sealed.clone()).unwrap(), "I have diabetes.");
    for elsewhere in [
        place(2, HERE),
        place(1, Field::Line(4)),
        place(1, Field::Recap),
        place(1, Field::Waiting { ended: true }),
        place(1, Field::Waiting { ended: false }),
    ] {
        assert_eq!(key.open(elsewhere, sealed.clone()), Err(SealError::Damaged), "{elsewhere:?}");
    }
}

#[test]
fn the_first_key_seals_and_all_of_them_open() {
    let (old, both, new) = (seal(KEY), seal(&format!(" {OTHER} , {KEY},")), seal(OTHER));
    let (of_old, of_both) = (old.seal(place(1, HERE), "before").unwrap(), both.seal(place(1, HERE), "after").unwrap());
    assert_eq!(both.open(place(1, HERE), of_old.clone()).unwrap(), "before");
    assert_eq!(new.open(place(1, HERE), of_both).unwrap(), "after");
    let id = old.ids().next().unwrap().to_owned();
    assert_eq!(new.open(place(1, HERE), of_old.clone()), Err(SealError::NoKey(id.clone())));
    let told = Seal::default().open(place(1, HERE), of_old).unwrap_err().to_string();
    assert!(told.contains("store.encryption_key") && told.contains(&id), "{told}");
}

#[test]
fn texts_from_before_there_was_a_key_stay_readable_and_none_passes_for_a_sealed_one() {
    let (key, none) = (seal(KEY), Seal::default());
    for text in ["", "plain", "tandem-", "tandem-sealed:1:00000000:AAAA", "tandem-open:1:x"] {
        let written = none.seal(place(1, HERE), text).unwrap();
        assert_eq!(
            (none.open(place(1, HERE), written.clone()).unwrap(), plain_bytes(&written)),
            (text.into(), text.len())
        );
        assert_eq!(key.open(place(1, HERE), written).unwrap(), text);
    }
    assert_eq!(none.seal(place(1, HERE), "plain").unwrap(), "plain", "as it always was");
}

#[test]
fn what_was_changed_is_found() {
    let key = seal(KEY);
    let sealed = key.seal(place(1, HERE), "text").unwrap();
    let end = sealed.len() - 3;
    for damaged in [
        sealed[..end].to_owned(),
        format!("{}AA=", &sealed[..end]),
        format!("{SEALED}x"),
        format!("{SEALED}zzzzzzzz:AAAA"),
        format!("{SEALED}{}:AAAA", key.ids().next().unwrap()),
    ] {
        assert_eq!(key.open(place(1, HERE), damaged.clone()), Err(SealError::Damaged), "{damaged}");
    }
}

#[test]
fn keys_are_judged_and_do_not_print() {
    let weak = STANDARD.encode([7; KEY_BYTES]);
    let short = STANDARD.encode([7; KEY_BYTES - 1]);
    for (list, expected) in [
        ("hush".to_owned(), KeyListError::Form(1)),
        (format!("{KEY},{short}"), KeyListError::Form(2)),
        (weak, KeyListError::Weak(1)),
        (format!("{KEY},{OTHER},{KEY}"), KeyListError::Twice(3)),
    ] {
        assert_eq!(Seal::read(&list.as_str().into()).err(), Some(expected));
        assert!(!expected.to_string().contains("hush"));
    }
    assert!(!seal("").is_on() && seal(KEY).is_on());
    assert_eq!(format!("{:?}", seal(&format!("{KEY},{OTHER}"))), "Seal { keys: 2 }");
}

fn record(lines: usize, bytes: usize) -> Record {
    let line = |n: usize| Line { speaker: Speaker::Caller, at_ms: n as i64, text: format!("{n:>bytes$}").into() };
    let transcript = (0..lines).map(line).collect();
    Record {
        session: Uuid::from_u128(7),
        user: "maria".into(),
        persona: "listener".into(),
        began_ms: 1,
        origin: Origin::default(),
        ended: Some(Ended { ending: Ending::ClientLeft, recap: "a heron".into(), transcript, ..Ended::lost(2) }),
    }
}

#[test]
fn a_record_is_sealed_and_opened_with_as_much_of_it_as_is_kept() {
    let key = seal(KEY);
    let most = MAX_TRANSCRIPT_BYTES / 1024;
    let sealed = key.seal_record(record(most + 9, 1024)).unwrap();
    let ended = sealed.ended.as_ref().unwrap();
    assert_eq!((ended.transcript.len(), ended.kept().count()), (most, most), "limits are those of the texts");
    let private = ended.transcript.iter().map(|line| &line.text).chain([&ended.recap]);
    assert!(private.into_iter().all(|text| text.expose().starts_with(SEALED)));
    assert_eq!(key.open_record(sealed.clone()).unwrap(), record(most, 1024));
    let listed = Seal::default().open_list(vec![sealed.clone(), record(1, 1)]);
    let recap = |record: &Record| record.ended.as_ref().unwrap().recap.expose().clone();
    assert_eq!(listed.iter().map(recap).collect::<Vec<_>>(), ["", "a heron"], "what cannot be read is left out");
    let id = sealed.session.to_string();
    assert_eq!(key.open_recap(&id, recap(&sealed)), Some("a heron".into()));
    assert_eq!(Seal::default().open_recap(&id, recap(&sealed)), None);
    assert_eq!(seal(OTHER).open_record(sealed).err().map(|error| matches!(error, SealError::NoKey(_))), Some(true));
    let silent = Record { ended: record(0, 0).ended.map(|ended| Ended { recap: "".into(), ..ended }), ..record(0, 0) };
    assert_eq!(key.seal_record(silent.clone()).unwrap(), silent, "what is empty stays so");
}

proptest! {
    #[test]
    fn any_text_comes_back_and_no_bytes_make_it_panic(text in ".{0,200}", bytes in ".{0,40}", number: u32) {
        for seal in [seal(KEY), Seal::default()] {
            let here = place(9, Field::Line(number));
            let written = seal.seal(here, &text).unwrap();
            prop_assert_eq!(plain_bytes(&written), text.len());
            prop_assert_eq!(seal.open(here, written).unwrap(), text.clone());
            let _ = (seal.open(here, format!("{SEALED}{bytes}")), plain_bytes(&format!("{SEALED}{bytes}")));
        }
    }
}
