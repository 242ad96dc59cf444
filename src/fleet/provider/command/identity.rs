//! Which process it is: its number alone may be another's tomorrow.

use std::{fs, io, path::Path};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::fleet::provider::Detail;

/// A process that leads a group of its own, and that no later one is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pid: Pid,
    /// When it began, in ticks since the machine did.
    started: u64,
    /// Which run of the machine that was.
    boot: String,
}

impl Identity {
    /// The process with this number, if there is one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        Some(Self { pid, started: Stat::of(pid)?.started, boot: boot()? })
    }

    /// Whether it still runs. One that ended and was not asked for its result does not.
    pub(super) fn is_alive(&self) -> bool {
        let stat = Stat::of(self.pid).filter(|stat| stat.started == self.started && !stat.is_over);
        stat.is_some() && boot().as_ref() == Some(&self.boot)
    }

    /// Sends a signal to its group. One that is gone is no error.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill_process_group(self.pid, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Keeps it in a file that only its owner may read, for a later Tandem.
    pub(super) fn save(&self, file: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut draft = file.as_os_str().to_owned();
        draft.push(".draft");
        let mut options = fs::OpenOptions::new();
        let open = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let text = format!("{} {} {}\n", self.pid.as_raw_nonzero(), self.started, self.boot);
        open.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))?;
        fs::rename(draft, file)
    }

    /// The process that such a file names. One that cannot be read names none.
    pub(super) fn load(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split_whitespace();
        let pid = Pid::from_raw(words.next()?.parse().ok().filter(|pid| *pid > 1)?)?;
        Some(Self { pid, started: words.next()?.parse().ok()?, boot: words.next()?.to_owned() })
    }

    /// For people.
    pub(super) fn detail(&self) -> Detail {
        Detail::own(format!("process {}", self.pid.as_raw_nonzero()))
    }
}

/// What the kernel says of a process.
struct Stat {
    started: u64,
    is_over: bool,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name stands in brackets and may have any character, brackets and blanks included.
        let mut words = text.rsplit_once(')')?.1.split_whitespace();
        let is_over = matches!(words.next()?, "Z" | "X" | "x");
        // The state is the third field, the time of its begin the 22nd.
        Some(Self { started: words.nth(18)?.parse().ok()?, is_over })
    }
}

fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Identity {
        Identity::of(std::process::id()).unwrap()
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        assert!(ours().is_alive());
        let later = Identity { started: ours().started + 1, ..ours() };
        let after_a_reboot = Identity { boot: "another".to_owned(), ..ours() };
        assert!(!later.is_alive() && !after_a_reboot.is_alive());
    }

    #[test]
    fn what_is_saved_is_found_again_and_nothing_else() {
        let file = std::env::temp_dir().join(format!("tandem-{}.pid", uuid::Uuid::new_v4()));
        assert_eq!(Identity::load(&file), None);
        ours().save(&file).unwrap();
        assert_eq!(Identity::load(&file), Some(ours()));
        for text in ["", "7", "7 7", "x 7 b", "0 7 b", "1 7 b", "-7 7 b", "99999999999 7 b", "7 x b"] {
            fs::write(&file, text).unwrap();
            assert_eq!(Identity::load(&file), None, "{text}");
        }
        fs::remove_file(&file).unwrap();
    }
}
