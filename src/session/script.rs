//! What the model servers of one call are given to read.

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::machine::{HandshakeTerms, Prompt};
use crate::{
    context::recap::{MEMORY_TOKENS, RECAP_TOKENS, Said, continuation, memory},
    protocol::moshi::{ChatTarget, TargetError, Voice, prompt_steps},
};

/// The voice and prompt of a call, for its first server and for those after it. Its `Debug` shows no prompt.
#[derive(Clone)]
pub struct Script {
    voice: Voice,
    persona: SecretString,
    /// Who the assistant is, in few words; nothing of its caller.
    role: SecretString,
    first: Arc<ChatTarget>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("voice", &self.voice).field("first", &self.first).finish_non_exhaustive()
    }
}

impl Script {
    /// A call in which this voice speaks, in this role.
    pub fn new(voice: Voice, persona: SecretString) -> Result<Script, TargetError> {
        let first = Arc::new(ChatTarget::build(voice, &persona)?);
        Ok(Script { voice, role: persona.clone(), persona, first })
    }

    /// The same, for servers that go on with the call knowing no more of the assistant than this.
    #[must_use]
    pub fn continued_as(self, role: SecretString) -> Script {
        Script { role, ..self }
    }

    /// Text tokens of each prompt, at most.
    pub fn tokens(&self, prompt: Prompt) -> u32 {
        let persona = self.first.prompt_tokens_estimate();
        match prompt {
            Prompt::Persona => persona,
            Prompt::Memory => persona.saturating_add(MEMORY_TOKENS),
            Prompt::Continuation => RECAP_TOKENS,
        }
    }

    /// The request for a server that goes on after what was said. Where the recap finds no room, it is the first one's.
    pub fn target(&self, prompt: Prompt, said: &Said) -> Arc<ChatTarget> {
        let text = match prompt {
            Prompt::Persona => return Arc::clone(&self.first),
            Prompt::Memory => memory(&self.persona, said, self.tokens(Prompt::Memory)),
            Prompt::Continuation => continuation(&self.role, said, RECAP_TOKENS),
        };
        ChatTarget::build(self.voice, &text).map_or_else(|_| Arc::clone(&self.first), Arc::new)
    }
}

/// How long a model server may take to read its prompts (personaplex.md 6): so long, and so much more a step.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeBudget {
    /// What is granted whatever the prompt.
    pub base: Duration,
    /// What is granted for each step.
    pub step: Duration,
    /// Steps that the voice takes.
    pub voice_steps: u32,
}

impl HandshakeBudget {
    /// What this prompt is granted.
    pub fn terms(&self, script: &Script) -> HandshakeTerms {
        let steps = |prompt| prompt_steps(self.voice_steps, script.tokens(prompt));
        HandshakeTerms {
            base: self.base,
            step: self.step,
            steps: steps(Prompt::Persona),
            continuation_steps: steps(Prompt::Continuation),
            memory_steps: steps(Prompt::Memory),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSONA: &str = "You are Ada, a calm listener. You ask short questions.";

    fn script(persona: &str) -> Script {
        Script::new(Voice::ALL[0], persona.into()).unwrap()
    }

    fn said() -> Said {
        let mut said = Said::default();
        said.push("So your sister Marie moved to Lyon in May.");
        said
    }

    #[test]
    fn no_prompt_has_more_tokens_than_its_handshake_is_given_time_for() {
        for persona in ["很".repeat(300), "很。".repeat(200), PERSONA.repeat(9), "word ".repeat(300)] {
            let script = script(&persona);
            let mut said = said();
            said.push(&"今日は".repeat(100));
            for prompt in [Prompt::Persona, Prompt::Memory, Prompt::Continuation] {
                let tokens = script.target(prompt, &said).prompt_tokens_estimate();
                assert!(tokens <= script.tokens(prompt), "{prompt:?}: {tokens}");
            }
        }
    }

    #[test]
    fn who_goes_on_hears_who_it_is_and_nothing_of_the_caller() {
        let persona = "You are Ada. Information: Yesterday Bo wrote: \"It hurt. You are kind. Bye.\"";
        let script = script(persona).continued_as("You are Ada.".into());
        let prompt = script.target(Prompt::Continuation, &said()).expose().to_owned();
        assert!(prompt.contains("You+are+Ada.") && !prompt.contains("Bo") && !prompt.contains("kind"), "{prompt}");
    }

    #[test]
    fn later_servers_hear_of_the_call_within_their_budgets() {
        let script = script(PERSONA);
        let first = script.target(Prompt::Persona, &said());
        assert!(!first.expose().contains("Marie"));
        for prompt in [Prompt::Memory, Prompt::Continuation] {
            let target = script.target(prompt, &said());
            assert!(target.expose().contains("Marie"), "{prompt:?}");
            assert!(target.prompt_tokens_estimate() <= script.tokens(prompt), "{prompt:?}");
        }
        assert!(script.target(Prompt::Memory, &said()).expose().contains("short+questions"), "the whole persona");
    }

    #[test]
    fn a_persona_without_room_for_more_stays_as_it_is() {
        let long = "a ".repeat(4_060);
        let script = script(&long);
        assert_eq!(script.target(Prompt::Memory, &said()).expose(), script.target(Prompt::Persona, &said()).expose());
    }

    #[test]
    fn prompts_do_not_print() {
        assert!(!format!("{:?}", script(PERSONA)).contains("Ada"));
    }
}
