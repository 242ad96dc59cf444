//! What there is to know of a user, by topic.

use serde::Deserialize;

/// One thing that a persona may be told of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are all there is to say")]
pub enum Topic {
    Name,
    Pronouns,
    Conditions,
    Medication,
    Allergies,
    Sleep,
    Mood,
    Goals,
    Journal,
    Recaps,
}

impl Topic {
    /// Every topic, in the order in which a prompt tells them.
    pub const ALL: [Topic; 10] = [
        Topic::Name,
        Topic::Pronouns,
        Topic::Conditions,
        Topic::Medication,
        Topic::Allergies,
        Topic::Sleep,
        Topic::Mood,
        Topic::Goals,
        Topic::Journal,
        Topic::Recaps,
    ];

    /// As files and reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::Name => "name",
            Topic::Pronouns => "pronouns",
            Topic::Conditions => "conditions",
            Topic::Medication => "medication",
            Topic::Allergies => "allergies",
            Topic::Sleep => "sleep",
            Topic::Mood => "mood",
            Topic::Goals => "goals",
            Topic::Journal => "journal",
            Topic::Recaps => "recaps",
        }
    }

    /// As a prompt names it, if it is told as `Label: ...`.
    pub(super) const fn label(self) -> Option<&'static str> {
        match self {
            Topic::Conditions => Some("Conditions"),
            Topic::Medication => Some("Medication"),
            Topic::Allergies => Some("Allergies"),
            Topic::Sleep => Some("Sleep"),
            Topic::Mood => Some("Mood"),
            Topic::Goals => Some("Goals"),
            Topic::Name | Topic::Pronouns | Topic::Journal | Topic::Recaps => None,
        }
    }

    /// What the first part of its first entry is worth; parts of less worth are cut first.
    ///
    /// Who it is, what could do harm, how it is today, and then the rest.
    pub(super) const fn worth(self) -> i64 {
        match self {
            Topic::Name => 1_000,
            Topic::Pronouns => 990,
            Topic::Conditions => 900,
            Topic::Allergies => 880,
            Topic::Medication => 870,
            Topic::Mood => 860,
            Topic::Journal => 850,
            Topic::Recaps => 840,
            Topic::Sleep => 830,
            Topic::Goals => 820,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_by_their_names_and_worth_is_never_equal() {
        for topic in Topic::ALL {
            assert_eq!(serde_json::from_value::<Topic>(topic.name().into()).unwrap(), topic);
        }
        let mut worth = Topic::ALL.map(Topic::worth).to_vec();
        worth.sort_unstable();
        worth.dedup();
        assert_eq!(worth.len(), Topic::ALL.len());
    }
}
