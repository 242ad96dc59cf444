//! Who the assistant is, in few words: the sentences of a role that matter most (pure).

use super::sentence::sentences;
use crate::protocol::moshi::tokens_estimate;

/// Whole sentences of a role, in their order, of at most `budget` tokens by [`tokens_estimate`]: first those that say who it
/// is, then its rules, then the rest. Where not one has room, the beginning of the first one. Not empty if the role is not.
pub fn shortened(role: &str, budget: u32) -> String {
    let role = role.trim();
    if tokens_estimate(role) <= budget {
        return role.to_owned();
    }
    let sentences: Vec<&str> =
        role.split_inclusive(['。', '！', '？']).flat_map(sentences).filter(|sentence| is_whole(sentence)).collect();
    let joined = |chosen: &[usize]| chosen.iter().map(|at| sentences[*at]).collect::<Vec<_>>().join(" ");
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(worth(sentences[*at])));
    let mut chosen: Vec<usize> = Vec::new();
    for at in order {
        let mut more = chosen.clone();
        more.push(at);
        more.sort_unstable();
        if tokens_estimate(&joined(&more)) <= budget {
            chosen = more;
        }
    }
    if chosen.is_empty() { beginning(role, budget) } else { joined(&chosen) }
}

/// Whether it can stand alone: not the half of a quotation, which might be a user's words.
fn is_whole(sentence: &str) -> bool {
    sentence.matches('"').count().is_multiple_of(2)
}

fn worth(sentence: &str) -> u8 {
    let said = format!(" {} ", sentence.to_lowercase());
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&[" you are ", " your name ", " you work ", " je bent ", " jij bent ", " u bent ", "你是", "あなたは"])
    {
        2
    } else {
        u8::from(has(&[
            " no ",
            " not ",
            " never ",
            " only ",
            " must ",
            " always ",
            " danger",
            " emergency",
            "n't ",
            " geen ",
            " nooit ",
        ]))
    }
}

/// As many words as there is room for, or as many letters; at least one.
fn beginning(text: &str, budget: u32) -> String {
    let fits = |end: &usize| tokens_estimate(&text[..*end]) <= budget;
    let words = text.match_indices(' ').map(|(at, _)| at).take_while(fits).last();
    let letters = || text.char_indices().map(|(at, letter)| at + letter.len_utf8()).take_while(fits).last();
    let end = words.or_else(letters).unwrap_or_else(|| text.chars().next().map_or(0, char::len_utf8));
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_it_is_and_its_rules_come_before_the_rest_and_in_their_order() {
        let role =
            "You like tea. You are Ada, a calm listener. You ask short questions. You never give medical advice.";
        assert_eq!(shortened(role, 200), role);
        assert_eq!(shortened(role, 30), "You are Ada, a calm listener. You never give medical advice.");
        assert_eq!(shortened(role, 16), "You are Ada, a calm listener.");
    }

    #[test]
    fn nothing_is_cut_out_of_a_quotation() {
        let role = "Yesterday Bo wrote: \"It hurt. You are kind. Bye.\" You are Ada, and you have a good deal to say of it all.";
        let short = shortened(role, 20);
        assert!(!short.contains('"') || short.matches('"').count() == 2, "{short}");
    }

    #[test]
    fn writing_without_spaces_has_sentences_too_and_is_cut_between_letters_at_worst() {
        assert_eq!(shortened("今日は良い日。你是安娜。再见很久很久。", 20), "你是安娜。");
        let endless = "很".repeat(500);
        assert_eq!(shortened(&endless, 80), "很".repeat(25));
        assert_eq!(shortened("one two three four five six seven", 8), "one two");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_role_fits(role in "[a-zA-Z\" ]{1,20}(\\PC{0,40}[.!?。] ?){0,12}", budget in 20_u32..120) {
            let short = shortened(&role, budget);
            prop_assert!(tokens_estimate(&short) <= budget, "{}", short);
            prop_assert!(!short.is_empty() || role.trim().is_empty());
        }
    }
}
