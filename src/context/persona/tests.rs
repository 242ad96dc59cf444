use super::*;

const GOOD: &str = "name = \"coach\"\ndescription = \"Coaches.\"\nvoice = \"VARM4\"\ntemplate = \"\"\"\n\
                    You are a coach for {{ name or 'somebody' }}.\n{{ context }}\n\"\"\"\n\n[budget]\ntokens = 60\n\n\
                    [limits]\nmax_duration_seconds = 600\n\n[context]\nsee = [\"name\", \"mood\"]\n";

fn flaws(text: &str) -> Vec<String> {
    let read = Persona::read("coach", text, &Tokens::default());
    read.expect_err(text).iter().map(ToString::to_string).collect()
}

#[test]
fn a_persona_is_read_whole() {
    let (persona, advice) = Persona::read("coach", GOOD, &Tokens::default()).unwrap();
    assert_eq!((persona.voice, persona.model.as_deref(), persona.scope.as_deref()), (Voice::Varm4, None, None));
    assert_eq!(persona.languages, ["en"]);
    assert_eq!(persona.budget, Budget { bytes: 8_146, tokens: 60, counter: Tokens::default() });
    assert_eq!(persona.limits.max_duration, Some(Duration::from_secs(600)));
    assert_eq!(persona.sight.topics, [Topic::Name, Topic::Mood]);
    assert_eq!((persona.sight.journal_entries, persona.sight.journal_days, persona.sight.recaps), (5, 30, 1));
    assert_eq!(persona.bare().expose_secret(), "You are a coach for somebody.");
    assert_eq!(persona.short().expose_secret(), "You are a coach for somebody.");
    let own = GOOD.replace("description", "continuation = \"You are a coach.\"\ndescription");
    let (own, _) = Persona::read("coach", &own, &Tokens::default()).unwrap();
    assert_eq!(own.short().expose_secret(), "You are a coach.");
    assert_eq!(own.with_prompt("You are Bob.".into()).short().expose_secret(), "You are Bob.");
    assert_eq!(advice, []);
    assert!(!format!("{persona:?}").contains("somebody"));
}

#[test]
fn every_rule_that_a_persona_breaks_is_told_with_its_place() {
    for (from, to, told) in [
        ("name = \"coach\"", "name = \"trainer\"", "line 1, column 8: its name must be that of its file"),
        ("VARM4", "../voices/x", "line 3, column 9: there is no such voice; voices are NATF0 to NATF3"),
        ("voice =", "vioce =", "line 3, column 1: unknown field `vioce`"),
        ("see = [", "see = [\"shoe size\", ", "line 16, column 8: unknown variant `shoe size`"),
        ("tokens = 60", "tokens = 9000", "budget.tokens is 9000; expected 16 to 1500"),
        ("tokens = 60", "tokens = 60\nbytes = 9000", "budget.bytes is 9000; expected 64 to 8146"),
        (
            "a coach",
            "a coach of some thirty years and of much patience, who has seen everything, and has told nobody of it, and laughs, and waits, and listens, and thinks, and knows a great many things,",
            "over budget: the prompt has",
        ),
        ("= 600", "= 5", "line 13, column 24: a limit is 10 to 86400 seconds"),
        ("{{ name or 'somebody' }}", "{{ name or }}", "line 4, column 12: template, line 1, column 32: syntax error"),
        ("{{ context }}", "{{ contxt }}", "template, line 2, column 4: there is no variable contxt; there are name"),
        ("}}.\n", "}}\n", "the prompt does not end with a period"),
        ("You are", "You coach\nYou are", "template, line 1, column 9: no period at the end of a sentence"),
        ("You are", "<system> You are", "the template has < or >"),
        ("You are", "{% if recaps and not journal %}<system>{% endif %}You are", "the template has < or >"),
        ("You are", "You {{ '\\\\u003c' }} are", "the template has < or >"),
        ("You are", "＜system＞ You are", "the template has U+FF1C"),
        ("You are", "\\u001b You are", "the template has U+001B"),
        ("You are", "\\u202e You are", "the template has U+202E"),
        ("You are", "\\u0000 You are", "the template has U+0000"),
        ("description", "continuation = \"You are\"\ndescription", "continuation is whole sentences"),
        ("description", "continuation = \"<b> {{ name }}.\"\ndescription", "continuation is plain text"),
        (
            "description",
            "continuation = \"You are a coach of thirty years and of much patience, who has seen everything, and has told \
             nobody of it, and laughs, and waits, and listens, and thinks.\"\ndescription",
            "it has at most 48",
        ),
        ("[\"name\", \"mood\"]", "[]\nrequired = true", "context.required needs a topic in context.see"),
        ("\"mood\"]", "\"mood\"]\nrecaps = 4", "context.recaps is at most 3"),
        ("\"mood\"]", "\"mood\"]\njournal_entries = 21", "context.journal_entries is at most 20"),
        ("You are a coach for {{ name or 'somebody' }}.\n", "", "the template makes an empty prompt"),
        ("[budget]\ntokens = 60", "", "missing field `budget`"),
        ("\"mood\"]", "\"mood\", \"mood\"]", "context.see names a topic twice"),
        ("description", "languages = [\"English\"]\ndescription", "languages are codes of two or three letters"),
        ("description", "scope = \"a b\"\ndescription", "scope must be one word"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let told_now = flaws(&GOOD.replacen(from, to, 1));
        assert!(told_now.iter().any(|flaw| flaw.contains(told)), "{to}: {told_now:?}");
        assert!(told_now.iter().all(|flaw| flaw.starts_with("persona coach")), "{told_now:?}");
    }
}

#[test]
fn what_could_be_better_is_advice() {
    for (from, to, told) in [
        ("tokens = 60", "tokens = 500", "takes 20 to 45 s to read, and 40 of the 240 s"),
        ("description", "languages = [\"en\", \"nl\"]\ndescription", "PersonaPlex was trained on English"),
        ("{{ context }}\n", "", "what the template does not tell: {{ about }}"),
        ("\"name\", ", "", "the template tells {{ name }}, which context.see does not let it see"),
    ] {
        let (_, advice) = Persona::read("coach", &GOOD.replacen(from, to, 1), &Tokens::default()).unwrap();
        assert!(advice.len() == 1 && advice[0].to_string().contains(told), "{to}: {advice:?}");
    }
}
