//! Sentences of plain text (pure).

/// The longest sentence that is told, in bytes. Half of a sentence may say the contrary of all of it.
pub const MAX_SENTENCE_BYTES: usize = 600;

/// Words with a full stop that ends no sentence.
const ABBREVIATIONS: [&str; 15] =
    ["dr", "mr", "mrs", "ms", "prof", "st", "no", "vs", "approx", "incl", "resp", "bijv", "mevr", "dhr", "ca"];

/// The sentences of a text without line ends.
pub fn sentences(text: &str) -> Vec<&str> {
    let (mut found, mut from) = (Vec::new(), 0);
    for (at, _) in text.match_indices(' ') {
        if ends_sentence(&text[from..at], &text[at + 1..]) {
            found.push(&text[from..at]);
            from = at + 1;
        }
    }
    found.push(&text[from..]);
    found.into_iter().map(str::trim).filter(|sentence| !sentence.is_empty()).collect()
}

fn ends_sentence(before: &str, after: &str) -> bool {
    let body = before.trim_end_matches(['\'', ')']);
    let word = body.rsplit([' ', '(', '\'']).next().unwrap_or_default();
    match body.chars().next_back() {
        Some('!' | '?') => !after.starts_with(char::is_lowercase),
        Some('.') => {
            let stem = word.trim_end_matches('.');
            // "J. R.", "a.m." and "1." belong to what follows.
            let short = stem.rsplit('.').next().is_some_and(|last| last.chars().count() <= 1 && last != "I");
            let counts = stem.len() <= 2 && stem.bytes().all(|byte| byte.is_ascii_digit()) && word == before.trim();
            let abbreviated = ABBREVIATIONS.contains(&stem.to_lowercase().as_str());
            !(after.starts_with(char::is_lowercase)
                || (short && !stem.is_empty() && !ends_in_digit(stem))
                || counts
                || abbreviated)
        }
        _ => false,
    }
}

fn ends_in_digit(stem: &str) -> bool {
    stem.ends_with(|last: char| last.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_end_where_people_end_them() {
        for (text, expected) in [
            ("", vec![]),
            ("I slept", vec!["I slept"]),
            ("I slept. Then I ran! Why? No idea", vec!["I slept.", "Then I ran!", "Why?", "No idea"]),
            ("It was... odd. Dr. Vos said so.", vec!["It was... odd.", "Dr. Vos said so."]),
            ("I took 2.5 mg at 3 a.m. Then I slept.", vec!["I took 2.5 mg at 3 a.m. Then I slept."]),
            ("I slept at 3. Then I ran.", vec!["I slept at 3.", "Then I ran."]),
            ("1. Walk more. 2. Sleep.", vec!["1. Walk more.", "2. Sleep."]),
            ("It was me and I. She left.", vec!["It was me and I.", "She left."]),
            ("'Stop it.' She left. (Really.) Yes.", vec!["'Stop it.'", "She left.", "(Really.)", "Yes."]),
            ("今日は良い日. 明日も. ", vec!["今日は良い日.", "明日も."]),
            ("Tot zo, dhr. Bakker. Écoute.", vec!["Tot zo, dhr. Bakker.", "Écoute."]),
        ] {
            assert_eq!(sentences(text), expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn nothing_but_space_is_lost(text in "([a-zA-Zé .,!?']{0,20} ?){0,40}") {
            let joined: String = sentences(&text).concat();
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&joined), letters(&text));
            prop_assert!(sentences(&text).iter().all(|part| !part.is_empty()));
        }
    }
}
