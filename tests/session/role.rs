//! What servers do in plays.

use std::time::Duration;

use tandem::session::machine::UpstreamEnd;

/// What a server of the play does.
#[derive(Clone, Debug)]
pub struct Role {
    /// From its opening to its handshake; it hangs up instead where there is none.
    pub handshake: Option<Duration>,
    /// It ends so long after its handshake, with or without a word.
    pub dies: Option<(Duration, UpstreamEnd)>,
    /// It gives no sound in this time after its handshake.
    pub silent: Option<(Duration, Duration)>,
    /// It speaks in this time after its handshake, and is silent otherwise.
    pub speaks: Option<(Duration, Duration)>,
    /// It takes 100 ms for each frame.
    pub slow: bool,
    /// It is silent for 4 s of every 12, from its 20th second on.
    pub stutters: bool,
    /// The same until then.
    pub stutters_until: Option<Duration>,
    /// Nobody listens at its address.
    pub unreachable: bool,
}

impl Role {
    pub const GOOD: Role = Role {
        handshake: Some(Duration::from_secs(5)),
        dies: None,
        silent: None,
        speaks: None,
        slow: false,
        stutters: false,
        stutters_until: None,
        unreachable: false,
    };
}
