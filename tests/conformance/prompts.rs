//! The leak itself, and how long prompting takes.

use std::time::Duration;

use tandem::sim::upstream::{Answer, CallLog, PromptText, Settings};

use crate::client::{Client, Event, end_of, quick, seen, start};

fn given(call: &CallLog) -> (&str, &str) {
    (call.prompt_given.as_ref().map_or("", PromptText::expose), call.voice_given.as_deref().unwrap_or_default())
}

fn query(voice: &str, text: &str) -> String {
    format!("voice_prompt={voice}.pt&text_prompt={text}")
}

#[tokio::test]
async fn a_request_that_fails_leaves_its_prompts_to_whoever_waits() {
    let sim = start(quick()).await;
    let mut first = Client::talk(&sim, &query("NATF0", "first")).await;
    let mut waiter = Client::call(&sim, &query("NATF2", "waiter")).await;
    let mut failing = Client::call(&sim, &format!("{}&seed=3", query("VARM1", "private"))).await;
    assert_eq!(failing.next().await, Event::Fin);
    first.close(1000).await;
    assert_eq!(waiter.next().await, Event::Handshake);
    let calls = sim.log();
    assert_eq!(given(&calls[1]), ("<system> private <system>", "VARM1.pt"));
    assert_eq!(given(&calls[0]), ("<system> first <system>", "NATF0.pt"));
}

#[tokio::test]
async fn a_request_changes_the_text_of_one_that_is_being_prompted() {
    let settings = Settings { voice_steps: 500, step: Duration::from_millis(1), ..quick() };
    let sim = start(settings).await;
    let mut prompted = Client::call(&sim, &query("NATF0", "a+text+of+some+length+that+is+never+spoken")).await;
    seen(&sim, |calls| calls[0].steps > 0).await;
    let mut newcomer = Client::call(&sim, &query("NATM2", "short")).await;
    assert_eq!(prompted.next().await, Event::Handshake);
    let call = sim.log().remove(0);
    assert_eq!(given(&call), ("<system> short <system>", "NATF0.pt"), "the voice was begun before the newcomer came");
    assert_eq!(call.voice_cached.as_deref(), Some("NATM2.pt"), "but ends in the newcomer's cache");
    assert_eq!(call.steps, 500 + 6 + 7 + 6);
    assert!(newcomer.heard_nothing());
}

#[tokio::test]
async fn one_socket_at_a_time_always_gets_its_own_prompts() {
    let sim = start(quick()).await;
    for (number, voice) in ["NATF0", "VARM4", "NATF0"].into_iter().enumerate() {
        let mut client = Client::talk(&sim, &query(voice, &format!("user+{number}"))).await;
        client.close(1000).await;
        assert_eq!(client.rest().await, [Event::Close(1000)]);
        end_of(&sim, number + 1).await;
        let call = sim.log().remove(number);
        assert_eq!(given(&call), (&*format!("<system> user {number} <system>"), &*format!("{voice}.pt")));
        assert_eq!(call.voice_cached, call.voice_given);
    }
    assert_eq!(sim.peak_open_sockets(), 1);
}

/// Seconds to the handshake with a prompt of so many characters, in a time that passes by itself.
async fn seconds_to_handshake(step_ms: u64, characters: usize) -> f64 {
    let step = Duration::from_millis(step_ms);
    let sim = start(Settings { step, answer: Answer::Silence, ..Settings::default() }).await;
    let mut client = Client::call(&sim, &query("NATF0", &"x".repeat(characters))).await;
    assert_eq!(client.next().await, Event::Handshake);
    sim.log()[0].handshake_after.unwrap().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn prompting_takes_as_long_as_the_real_server_takes() {
    // Step, characters for so many tokens, and the handshake after (51 + 12 + tokens) x (step + 11 ms).
    for (step_ms, tokens, seconds) in [(30, 30, 3.8), (30, 250, 12.8), (50, 30, 5.7), (50, 110, 10.6), (80, 250, 28.5)]
    {
        let took = seconds_to_handshake(step_ms, (tokens - 5) * 4).await;
        assert!((took - seconds).abs() < 0.06, "{tokens} tokens at {step_ms} ms: {took} s, not {seconds} s");
    }
}
