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
    /// The session that its group is in: that of the Tandem that started it.
    session: i32,
    /// Which run of the machine that was, and which numbering of its processes.
    boot: String,
}

impl Identity {
    /// The process with this number, if there is one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let stat = Stat::of(pid)?;
        Some(Self { pid, started: stat.started, session: stat.session, boot: boot()? })
    }

    /// Whether it still runs. One that ended and was not asked for its result does not.
    pub(super) fn is_alive(&self) -> bool {
        let stat = Stat::of(self.pid).filter(|stat| stat.started == self.started && !stat.is_over);
        stat.is_some() && boot().as_ref() == Some(&self.boot)
    }

    /// Whether it has ended, and with it all that it started. What it left behind is killed, and gone a moment later.
    pub(super) fn is_gone(&self) -> bool {
        if self.is_alive() {
            return false;
        }
        let is_left = self.left_behind();
        if is_left {
            // The next look finds what came of it.
            let _ = self.signal(Signal::KILL);
        }
        !is_left
    }

    /// Whether its group goes on without it.
    ///
    /// The number of a group is not given out again while the group has a member, so a process of this number that is not
    /// this one means that there is none. A later group of the same number that lost its leader as well is told by its
    /// session: groups stay in one.
    fn left_behind(&self) -> bool {
        let is_reused = Stat::of(self.pid).is_some_and(|stat| stat.started != self.started);
        if is_reused || boot().as_ref() != Some(&self.boot) {
            return false;
        }
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?));
        let of_group = |stat: &Stat| stat.group == self.pid.as_raw_nonzero().get() && !stat.is_over;
        let mut members = pids.filter_map(Stat::of).filter(of_group).peekable();
        members.peek().is_some() && members.all(|it| it.session == self.session && it.started >= self.started)
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
        let text = format!("{} {} {} {}\n", self.pid.as_raw_nonzero(), self.started, self.session, self.boot);
        open.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))?;
        fs::rename(draft, file)
    }

    /// The process that such a file names. One that cannot be read names none.
    pub(super) fn load(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split_whitespace();
        let pid = Pid::from_raw(words.next()?.parse().ok().filter(|pid| *pid > 1)?)?;
        let (started, session) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { pid, started, session, boot: words.next()?.to_owned() })
    }

    /// For people.
    pub(super) fn detail(&self) -> Detail {
        Detail::own(format!("process {}", self.pid.as_raw_nonzero()))
    }
}

/// What the kernel says of a process.
struct Stat {
    group: i32,
    session: i32,
    started: u64,
    is_over: bool,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name stands in brackets and may have any character, brackets and blanks included.
        let mut words = text.rsplit_once(')')?.1.split_whitespace();
        // The state is the third field, the group the fifth, the session the sixth, the time of its begin the 22nd.
        let is_over = matches!(words.next()?, "Z" | "X" | "x");
        let (group, session) = (words.nth(1)?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { group, session, started: words.nth(15)?.parse().ok()?, is_over })
    }
}

fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let numbering = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", id.trim(), numbering.display()))
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
    fn what_is_left_of_a_group_is_known_by_its_session_and_its_time() {
        let (mut child, orphan) = orphan();
        child.wait().unwrap();
        assert!(orphan.left_behind());
        for other in [
            Identity { session: orphan.session + 1, ..orphan.clone() },
            Identity { started: orphan.started + 1_000_000, ..orphan.clone() },
            Identity { boot: "another".to_owned(), ..orphan.clone() },
            Identity { started: ours().started + 1, ..ours() },
        ] {
            assert!(!other.left_behind() && other.is_gone(), "{other:?} is not touched");
        }
        assert!(orphan.left_behind(), "nobody touched it");
        let mut looks = std::iter::repeat_with(|| {
            std::thread::yield_now();
            orphan.is_gone()
        });
        assert!(looks.by_ref().take(10_000).any(|is_gone| is_gone), "it is killed");
    }

    /// A process whose group goes on when it has ended, which is at once.
    fn orphan() -> (std::process::Child, Identity) {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "sleep 1000 & read line"]).process_group(0).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        drop(child.stdin.take());
        (child, identity)
    }

    #[test]
    fn what_is_saved_is_found_again_and_nothing_else() {
        let file = std::env::temp_dir().join(format!("tandem-{}.pid", uuid::Uuid::new_v4()));
        assert_eq!(Identity::load(&file), None);
        ours().save(&file).unwrap();
        assert_eq!(Identity::load(&file), Some(ours()));
        for text in
            ["", "7", "7 7", "7 7 7", "x 7 7 b", "0 7 7 b", "1 7 7 b", "-7 7 7 b", "99999999999 7 7 b", "7 x 7 b"]
        {
            fs::write(&file, text).unwrap();
            assert_eq!(Identity::load(&file), None, "{text}");
        }
        fs::remove_file(&file).unwrap();
    }
}
