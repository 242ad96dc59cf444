//! Whether a template makes prompts like those that the model was trained on: plain sentences, within the budget.

use super::{Budget, Sight, file::sample};
use crate::{
    context::{
        plain::frame_sign,
        template::{Facts, Template},
        topic::Topic,
    },
    protocol::moshi::encoded_bytes,
};

/// More tokens than this are an eighth of the model's window, and 15 to 34 s of start-up.
const MANY_TOKENS: u32 = 375;

/// The prompt of a caller of whom nothing is known and what could be better, or everything that is wrong.
pub(super) fn holds(
    template: &Template,
    source: &str,
    budget: &Budget,
    sight: &Sight,
) -> Result<(String, Vec<String>), Vec<String>> {
    let filled = [Facts::default(), sample()].map(|facts| template.fill(&facts));
    let [bare, full] = match filled {
        [Ok(bare), Ok(full)] => [bare, full],
        [bare, full] => {
            let mut errors: Vec<String> =
                [bare, full].into_iter().filter_map(|text| Some(text.err()?.to_string())).collect();
            errors.dedup();
            return Err(errors);
        }
    };
    let mut wrong = Vec::new();
    if bare.is_empty() {
        wrong.push(
            "the template makes an empty prompt where nothing is known of the caller; write at least a sentence".into(),
        );
    } else if !budget.holds(&bare) {
        wrong.push(format!(
            "over budget: the prompt has {} tokens and {} bytes before anything is told of the caller; the budget is {} and {}",
            budget.counter.of(&bare),
            encoded_bytes(&bare),
            budget.tokens,
            budget.bytes
        ));
    }
    wrong.extend(open_line(source));
    if [&bare, &full].into_iter().any(|prompt| !prompt.is_empty() && !closes(prompt)) {
        wrong.push("the prompt does not end with a period; the model was trained on whole sentences".into());
    }
    wrong.extend(framed(source, &[&bare, &full]));
    if wrong.is_empty() { Ok((bare.clone(), untold(template, &full, sight))) } else { Err(wrong) }
}

pub(super) fn closes(text: &str) -> bool {
    text.trim_end_matches(['"', '\'', ')']).ends_with(['.', '!', '?'])
}

/// What could be taken for the frame of a prompt, in any branch of the template.
fn framed(source: &str, prompts: &[&str]) -> Option<String> {
    let sign = std::iter::once(source).chain(prompts.iter().copied()).find_map(frame_sign)?;
    Some(if sign.is_control() || !['<', '>'].contains(&sign) {
        format!("the template has U+{:04X}, which nobody sees or which looks like < or >; take it out", u32::from(sign))
    } else {
        "the template has < or >; the server puts the prompt between <system> and <system>. To compare, write `is lt(3)` or \
         `is gt(3)`"
            .to_owned()
    })
}

/// A line of the template that ends like no sentence while the next one begins like one.
fn open_line(source: &str) -> Option<String> {
    let lines: Vec<(usize, &str)> = source
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    lines.windows(2).find_map(|pair| {
        let [(number, line), (_, next)] = pair else { return None };
        let open = line.ends_with(char::is_alphanumeric) && next.starts_with(char::is_uppercase);
        let column = line.chars().count();
        open.then(|| format!("template, line {number}, column {column}: no period at the end of a sentence"))
    })
}

/// What the persona may see and the template does not tell, or the other way about.
fn untold(template: &Template, full: &str, sight: &Sight) -> Vec<String> {
    let tells = |without: Facts| template.fill(&without).is_ok_and(|prompt| prompt != full);
    let sees = |topics: &[Topic]| topics.iter().any(|topic| sight.topics.contains(topic));
    let health = [Topic::Conditions, Topic::Medication, Topic::Allergies, Topic::Sleep, Topic::Mood, Topic::Goals];
    let table = [
        ("name", tells(Facts { name: String::new(), ..sample() }), sees(&[Topic::Name])),
        ("about", tells(Facts { about: String::new(), ..sample() }), sees(&health)),
        ("journal", tells(Facts { journal: String::new(), ..sample() }), sees(&[Topic::Journal])),
        ("recaps", tells(Facts { recaps: String::new(), ..sample() }), sees(&[Topic::Recaps])),
    ];
    let sentence = |(variable, tells, sees): (&str, bool, bool)| match (tells, sees) {
        (false, true) => Some(format!("context.see lets it see what the template does not tell: {{{{ {variable} }}}}")),
        // `context` holds more than most personas see.
        (true, false) if variable == "name" => Some(format!(
            "the template tells {{{{ {variable} }}}}, which context.see does not let it see: it stays empty"
        )),
        _ => None,
    };
    table.into_iter().filter_map(sentence).collect()
}

/// What could be better beside the template.
pub(super) fn advise(languages: &[String], budget: &Budget) -> Vec<String> {
    let mut advice = Vec::new();
    if languages.iter().any(|language| language != "en") {
        advice.push("PersonaPlex was trained on English; other languages are words that it may not speak".to_owned());
    }
    if budget.tokens > MANY_TOKENS {
        let steps = budget.tokens;
        advice.push(format!(
            "a prompt of {steps} tokens takes {} to {} s to read, and {} of the 240 s that the model remembers",
            steps * 4 / 100,
            steps * 9 / 100,
            steps * 8 / 100
        ));
    }
    advice
}
