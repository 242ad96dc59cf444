//! A call's prompt: the persona, and what it may know of its caller, within a budget (pure).
//!
//! What does not fit is cut at the ends of sentences, the least important first; see [`Topic`] for the order. The same
//! input makes the same prompt.

use jiff::civil::Date;
use secrecy::{ExposeSecret, SecretString};

use super::{
    item::paired,
    persona::Persona,
    piece::{Piece, pieces},
    template::Facts,
    topic::Topic,
    user::Context,
};
use crate::protocol::moshi::encoded_bytes;

/// A prompt, what it costs, and what of the context is in it. Its `Debug` shows no prompt.
#[derive(Clone, Debug)]
pub struct Built {
    /// One line of text; not empty.
    pub prompt: SecretString,
    /// Its tokens, the frame's included, guessed rather too high.
    pub tokens: u32,
    /// Its bytes, once encoded for a request line.
    pub bytes: usize,
    /// What there was to tell.
    pub told: Vec<Told>,
}

/// How much of a topic a prompt tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The topic.
    pub topic: Topic,
    /// Things or sentences that are in the prompt.
    pub told: usize,
    /// Things or sentences that there are; an entry or a text that is too much to be looked at counts as one.
    pub of: usize,
    /// Whether the persona may see the topic.
    pub seen: bool,
}

/// Makes the prompt of a call that begins `today`, by the calendar of whoever wrote the journal.
pub fn build(persona: &Persona, context: &Context, today: Date) -> Built {
    let (pieces, count) = pieces(context, &persona.sight, &persona.languages, today);
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    // Stable: what is worth the same is told in the order of the context.
    order.sort_by_key(|at| std::cmp::Reverse(pieces[*at].worth()));
    let mut chosen = vec![false; pieces.len()];
    let mut prompt = persona.bare().expose_secret().to_owned();
    for at in order {
        if pieces[at].follows && !chosen[at - 1] {
            continue;
        }
        chosen[at] = true;
        match persona.fill(&facts(&pieces, &chosen)).filter(|more| persona.budget.holds(more) && !more.is_empty()) {
            Some(more) => prompt = more,
            None => chosen[at] = false,
        }
    }
    // The bare prompt says the same as a filled one in which nothing was chosen.
    let told = count.into_iter().map(|(topic, of)| Told {
        topic,
        told: pieces.iter().zip(&chosen).filter(|(piece, chosen)| piece.topic == topic && **chosen).count(),
        of,
        seen: persona.sight.topics.contains(&topic),
    });
    Built {
        tokens: persona.budget.counter.of(&prompt),
        bytes: encoded_bytes(&prompt),
        told: told.collect(),
        prompt: prompt.into(),
    }
}

/// The chosen parts as a template takes them.
fn facts(pieces: &[Piece], chosen: &[bool]) -> Facts {
    let of = |topic: Topic| -> Vec<&Piece> {
        pieces
            .iter()
            .zip(chosen)
            .filter(|(piece, chosen)| piece.topic == topic && **chosen)
            .map(|(piece, _)| piece)
            .collect()
    };
    let single = |topic| of(topic).first().map(|piece| piece.text.clone()).unwrap_or_default();
    let (name, pronouns) = (single(Topic::Name), single(Topic::Pronouns));
    let about = Topic::ALL.into_iter().filter_map(|topic| labelled(topic, &of(topic)));
    Facts {
        about: about.collect::<Vec<_>>().join(" "),
        journal: journal(&of(Topic::Journal), &name, &pronouns),
        recaps: recaps(&of(Topic::Recaps)),
        name,
        pronouns,
    }
}

/// `Conditions: asthma, migraine.`
fn labelled(topic: Topic, parts: &[&Piece]) -> Option<String> {
    let label = topic.label().filter(|_| !parts.is_empty())?;
    let joint = if parts.iter().any(|piece| piece.text.contains(',')) { "; " } else { ", " };
    let texts: Vec<&str> = parts.iter().map(|piece| piece.text.as_str()).collect();
    Some(format!("{label}: {}.", texts.join(joint)))
}

/// `Yesterday Maria wrote: "I slept badly." Two days ago she wrote: "..."`
fn journal(parts: &[&Piece], name: &str, pronouns: &str) -> String {
    let who = name.split(' ').next().filter(|name| !name.is_empty()).unwrap_or("the caller");
    let later = pronouns.split('/').next().filter(|word| !word.is_empty()).unwrap_or(who);
    let entry = |(at, entry): (usize, Vec<&Piece>)| {
        let when = capitalised(&entry[0].when);
        format!("{when} {} wrote: {}", if at == 0 { who } else { later }, quoted(&entry))
    };
    by_entry(parts).into_iter().enumerate().map(entry).collect::<Vec<_>>().join(" ")
}

/// `Last call, a week ago: "We talked about Lyon."`
fn recaps(parts: &[&Piece]) -> String {
    let recap = |entry: Vec<&Piece>| {
        let when = &entry[0].when;
        // One of which nothing is told was the last call nevertheless.
        let which = match entry[0].entry {
            0 if entry[0].continues => format!("This call continues one from {when}"),
            0 => format!("Last call, {when}"),
            _ => format!("Earlier call, {when}"),
        };
        format!("{which}: {}", quoted(&entry))
    };
    by_entry(parts).into_iter().map(recap).collect::<Vec<_>>().join(" ")
}

fn by_entry<'a>(parts: &[&'a Piece]) -> Vec<Vec<&'a Piece>> {
    parts.chunk_by(|a, b| a.entry == b.entry).map(<[&Piece]>::to_vec).collect()
}

/// The parts in quotation marks, the last one with an end, and dots where something between them is left out.
fn quoted(parts: &[&Piece]) -> String {
    let mut text = String::new();
    for piece in parts {
        let gap = if piece.after_gap { " ... " } else { " " };
        text.push_str(if text.is_empty() { "" } else { gap });
        text.push_str(&piece.text);
    }
    let text = paired(&text);
    let text = text.trim_end_matches([',', ';', ' ']);
    let ends = text.ends_with(['.', '!', '?']);
    format!("\"{text}{}\"", if ends { "" } else { "." })
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod faithful;
#[cfg(test)]
mod tests;
