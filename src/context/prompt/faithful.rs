//! What is told says what was written, outside of quotation marks nothing of it begins a sentence, and the work is bounded.

use proptest::prelude::*;

use super::*;
use crate::context::{
    persona::Sight,
    private::Private,
    tokens::Tokens,
    user::{Entry, Health},
    work,
};

const LABELS: [&str; 6] = ["Conditions", "Medication", "Allergies", "Sleep", "Mood", "Goals"];

fn today() -> Date {
    "2026-11-23".parse().unwrap()
}

fn prompt(context: &Context) -> String {
    let text = "name = \"p\"\ndescription = \"\"\nvoice = \"NATF0\"\n\
                template = \"You listen to {{ name or 'somebody' }}. {{ context }}\"\n[budget]\ntokens = 1500\n\
                [context]\nsee = [\"name\", \"pronouns\", \"conditions\", \"medication\", \"allergies\", \"sleep\", \"mood\", \
                \"goals\", \"journal\", \"recaps\"]\nrecaps = 3\n";
    let persona = Persona::read("p", text, &Tokens::default()).unwrap().0;
    build(&persona, context, today()).prompt.expose_secret().to_owned()
}

fn everywhere(texts: &[String]) -> Context {
    let all = || Private::from(texts.to_vec());
    let entry = |text: &String| Entry { date: None, text: text.as_str().into() };
    Context {
        continues: None,
        name: texts.first().cloned().unwrap_or_default().into(),
        pronouns: "she/her".into(),
        health: Health {
            conditions: all(),
            medication: all(),
            allergies: all(),
            sleep: all(),
            mood: all(),
            goals: all(),
        },
        journal: texts.iter().map(entry).collect(),
        recaps: texts.iter().map(entry).collect(),
    }
}

/// A number or a word, with the signs before it that say something of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    signs: String,
    text: String,
}

/// The words of a text, and the signs behind the last one. A number is one word with its decimals.
fn words(text: &str) -> Vec<Word> {
    let letters: Vec<char> = text.chars().collect();
    let is = |at: usize, of: &dyn Fn(char) -> bool| letters.get(at).is_some_and(|letter| of(*letter));
    let digit = |letter: char| letter.is_ascii_digit();
    let (mut words, mut signs, mut at) = (Vec::new(), String::new(), 0);
    while at < letters.len() {
        let from = at;
        if is(at, &digit) {
            while is(at, &digit) || (is(at, &|sign| ".,:/".contains(sign)) && is(at + 1, &digit)) {
                at += 1;
            }
        } else {
            while is(at, &char::is_alphabetic) {
                at += 1;
            }
        }
        if at > from {
            words.push(Word { signs: std::mem::take(&mut signs), text: letters[from..at].iter().collect() });
            continue;
        }
        signs.extend(Some(letters[at]).filter(|sign| "-+%±→^/".contains(*sign)));
        at += 1;
    }
    words.push(Word { signs, text: String::new() });
    words
}

/// Parts of texts as they are written, and as they are read aloud.
const PARTS: [(&str, &str); 20] = [
    ("insulin", "insulin"),
    ("Penicillin", "Penicillin"),
    ("mg", "mg"),
    ("no", "no"),
    ("5", "5"),
    ("5", "5"),
    ("10", "10"),
    ("10", "10"),
    ("3", "3"),
    ("2.5", "2.5"),
    ("0,5", "0,5"),
    ("７", "7"),
    ("½", "½"),
    ("10⁹", "10^9"),
    ("**5**", "5"),
    ("*mg*", "mg"),
    ("`10`", "10"),
    ("<b>5</b>", "5"),
    ("[10](https://x.example)", "10"),
    ("~~10~~", " struck "),
];

/// What stands between them.
const BETWEEN: [(&str, &str); 46] = [
    (" ", " "),
    (" ", " "),
    (" ", " "),
    ("", ""),
    (". ", ". "),
    (".", "."),
    (", ", ", "),
    (",", ","),
    (": ", " "),
    (":", ":"),
    ("; ", " "),
    ("\n", " "),
    ("\n- ", " "),
    ("<br>", " "),
    ("<b>", ""),
    ("*", " x "),
    (" * ", " x "),
    (" x ", " x "),
    ("×", " x "),
    ("**", "^"),
    ("~", "-"),
    (" ~", " about "),
    ("-", "-"),
    ("–", "-"),
    (" - ", " - "),
    (" — ", " - "),
    (" <", " under "),
    (" > ", " over "),
    (" ≥ ", " at least "),
    ("&lt;=", " at most "),
    ("=", " equals "),
    ("/", "/"),
    (" / ", " / "),
    ("%", "%"),
    (" % ", "%"),
    ("+", "+"),
    (" + ", "+"),
    ("→", "→"),
    (" ± ", "±"),
    ("^", "^"),
    ("·", " "),
    ("…", " "),
    (" 😀 ", " "),
    ("_", " "),
    ("|", ", "),
    ("\u{200b}", ""),
];

/// A text as it is written and as it is read.
fn written() -> impl Strategy<Value = (String, String)> {
    prop::collection::vec((0..PARTS.len(), 0..BETWEEN.len()), 1..9).prop_map(|parts| {
        let (mut written, mut read) = (String::new(), String::new());
        for (nth, (part, between)) in parts.into_iter().enumerate() {
            let between = if nth == 0 { ("", "") } else { BETWEEN[between] };
            written += &format!("{}{}", between.0, PARTS[part].0);
            read += &format!("{}{}", between.1, PARTS[part].1);
        }
        for digit in "0123456789".chars() {
            read = read.replace(&format!("{digit}½"), &format!("{digit} ½"));
        }
        (written, read.replace("½½", "½ ½").replace("½½", "½ ½").replace('½', "1/2"))
    })
}

/// Words of ours that tie a number to what stands next to it.
const TIES: [&str; 7] = ["x", "under", "over", "least", "most", "about", "equals"];

/// The numbers of what is told that do not stand in the source like this, with the same words and signs around them.
fn strange_numbers(told: &str, source: &str) -> Vec<String> {
    let (told, source) = (words(told), words(source));
    let stands = |at: usize| {
        source.windows(2).enumerate().any(|(of, pair)| {
            let before = match at {
                0 => of == 0 || !TIES.contains(&source[of - 1].text.as_str()),
                _ => of > 0 && source[of - 1].text == told[at - 1].text,
            };
            let after = match told[at + 1].text.as_str() {
                "" => !TIES.contains(&pair[1].text.as_str()),
                _ => told[at + 1] == pair[1],
            };
            pair[0] == told[at] && before && after
        })
    };
    let numbers = (0..told.len()).filter(|at| told[*at].text.starts_with(|first: char| first.is_ascii_digit()));
    numbers.filter(|at| !stands(*at)).map(|at| told[at].text.clone()).collect()
}

/// What is told of a text, in each way in which texts are told.
fn told(text: &str) -> Vec<String> {
    let context = everywhere(&[text.to_owned()]);
    let sight = Sight { topics: Topic::ALL.to_vec(), journal_entries: 5, recaps: 3, ..Sight::default() };
    let (pieces, _) = pieces(&context, &sight, &["en".to_owned()], today());
    pieces.into_iter().filter(|piece| piece.topic > Topic::Pronouns).map(|piece| piece.text).collect()
}

#[test]
fn numbers_that_were_changed_are_found() {
    for (told, source) in [
        ("insulin 510 units", "insulin 5 x 10 units"),
        ("2 pills", "at least 2 pills, 3 pills"),
        ("take 5 mg", "take -5 mg"),
        ("5 mg", "5 x 3 mg"),
        ("25 mg", "2.5 mg"),
    ] {
        assert_eq!(strange_numbers(told, source).len(), 1, "{told}");
    }
    assert!(strange_numbers("at least 2 pills", "take at least 2 pills").is_empty());
}

/// Words of users, each with a letter that no word of ours has, and what they put between them.
fn foreign() -> impl Strategy<Value = String> {
    let word =
        prop::sample::select(vec!["zq", "Zq", "you are zq", "You are now Zq", "ignore Zq", "5 zq", "Dr", "𝐙q", "I"]);
    let between = prop::sample::select(vec![
        " ",
        ". ",
        ".",
        ".- ",
        ": ",
        "; ",
        "! ",
        "?",
        ", ",
        "\n",
        "\n\n- ",
        "\" ",
        "“",
        "' ",
        " (",
        ")",
        "…",
        "。",
        "．",
        "ʺ ",
        "ː ",
        "<br>",
        "&quot; ",
        "</system> ",
        "{{ name }}",
        ":",
        " Information: ",
        "St. ",
        "\u{2028}",
        "؟ ",
        "। ",
    ]);
    prop::collection::vec((word, between), 1..7)
        .prop_map(|parts| parts.into_iter().map(|(word, between)| format!("{word}{between}")).collect())
}

/// Whether a word of a user stands where a sentence begins, outside of quotation marks.
fn begins_sentence(prompt: &str) -> bool {
    let outside: Vec<&str> = prompt.split('"').step_by(2).collect();
    let outside = outside.join("''");
    let ends = |before: &str| match before.trim_end_matches([' ', '(', '\'', '-']).chars().next_back() {
        None | Some('.' | '!' | '?' | '…' | '。') => true,
        Some(':') => !LABELS.iter().any(|label| before.trim_end().ends_with(&format!("{label}:"))),
        _ => false,
    };
    outside.match_indices(['q', 'Q']).any(|(at, _)| {
        let word = outside[..at].rfind(|letter: char| !letter.is_alphanumeric()).map_or(0, |space| space + 1);
        ends(&outside[..word])
    })
}

#[test]
fn a_sentence_of_a_users_is_found() {
    for prompt in ["You listen. Zq is king.", "Mood: low. zq", "Conditions: a: zq.", "zq"] {
        assert!(begins_sentence(prompt), "{prompt}");
    }
    for prompt in ["You listen to Zq. Mood: zq.", "Today Zq wrote: \"Zq. Zq\" Last call, today: \"Zq.\""] {
        assert!(!begins_sentence(prompt), "{prompt}");
    }
}

/// What would be much work, were the rest of a text looked at again for each of them.
const WORST: [&str; 17] = [
    "[", "](", "[a](", "[a](/b)", "<", "<s>", "<s></s>", ">", "&amp;lt;", " *", "1*", "~~a", "`", "no🥜", "' ", "𝐘",
    "5=",
];

#[test]
fn the_work_is_in_proportion_whatever_is_written() {
    for worst in WORST {
        let text = worst.repeat(4_096 / worst.len());
        let context = Context { recaps: Vec::new(), ..everywhere(&vec![text; 50]) };
        let context = Context { health: Health { mood: context.health.mood, ..Health::default() }, ..context };
        let looked_at = work::of(|| {
            prompt(&context);
        });
        // 24 texts of a list and 50 entries are looked at: 0.3 MB, a few times each.
        assert!(looked_at < 2_500_000, "{worst:?}: {looked_at} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_number_that_is_told_stands_in_the_source_between_the_same_words((written, read) in written()) {
        for told in told(&written) {
            prop_assert_eq!(strange_numbers(&told, &read), Vec::<String>::new(), "{:?} of {:?}", told, written);
        }
    }

    #[test]
    fn nothing_of_a_users_begins_a_sentence(texts in prop::collection::vec(foreign(), 1..4)) {
        let prompt = prompt(&everywhere(&texts));
        prop_assert!(!begins_sentence(&prompt), "{} of {:?}", prompt, texts);
    }
}
