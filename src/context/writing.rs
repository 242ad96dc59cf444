//! In which letters languages are written (pure).

/// Languages that are written in Latin letters alone, by their codes of two letters.
const LATIN: [&str; 44] = [
    "af", "az", "br", "bs", "ca", "cs", "cy", "da", "de", "en", "eo", "es", "et", "eu", "fi", "fo", "fr", "fy", "ga",
    "gd", "gl", "hr", "hu", "id", "is", "it", "la", "lb", "lt", "lv", "ms", "mt", "nb", "nl", "nn", "no", "pl", "pt",
    "ro", "sk", "sl", "sv", "tr", "vi",
];

/// Whether all these languages are known to be written in Latin letters. Of a code that is not known nothing is.
pub(super) fn speak_latin(languages: &[String]) -> bool {
    languages.iter().all(|language| LATIN.contains(&language.as_str()))
}

/// Whether at least half of the letters are Latin ones: a model without another script would spell the rest in bytes.
pub(super) fn is_latin(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let (all, latin) = letters.fold((0_usize, 0_usize), |(all, latin), letter| {
        let is = matches!(letter, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}');
        (all + 1, latin + usize::from(is))
    });
    latin * 2 >= all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_script_than_the_models_is_known() {
        assert!(is_latin("Ik sliep slecht, ça va, größer") && is_latin("123") && !is_latin("今日は良い日 ok"));
        assert!(speak_latin(&["en".into(), "nl".into()]));
        for other in ["ja", "rus", "ru", "mk", "mr", "ne", "yi", "xx"] {
            assert!(!speak_latin(&["en".into(), other.into()]), "{other}");
        }
    }
}
