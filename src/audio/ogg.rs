//! Ogg Opus streams: bytes cut anywhere into packets, and packets into whole pages (RFC 3533, RFC 7845).
//!
//! Pages are read and written here rather than with a general Ogg library: a leg must name the fault of a page and go
//! on behind it, and must be able to write an end page that holds no packet.

mod demuxer;
mod head;
mod muxer;
mod page;

pub use demuxer::{MAX_BUFFERED_BYTES, MAX_GARBAGE_BYTES, OggDemuxer, OggError, OggItem};
pub use head::{HeadError, OpusHead};
pub use muxer::OggMuxer;
pub use page::MAX_PAGE_BYTES;
