//! Audio at the edge: Ogg pages, Opus packets and PCM (pure).
//!
//! Inside Tandem audio is [`packet::OpusPacket`]s with a duration; every other shape is converted at a leg's edge.

pub mod activity;
pub mod container;
pub mod hush;
pub mod ogg;
pub mod opus;
pub mod pacer;
pub mod packet;
pub mod pcm;
pub mod playout;
pub mod resampler;
pub mod turns;
