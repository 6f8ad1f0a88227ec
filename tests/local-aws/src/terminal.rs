//! The program's output, and the reasons to end before the work is done.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::getppid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// How often the reader of the output and the parent process are checked.
const CHECK: Duration = Duration::from_millis(500);

/// Prints a line to standard output. `println!` would panic after the reader has gone, as in
/// `npm start | head`. The program ends by [`output_closed`] instead.
pub fn print_line(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints a line to standard error.
pub fn print_error(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Waits until standard output is a pipe without a reader.
pub async fn output_closed() {
    while !has_no_reader(&io::stdout()) {
        sleep(CHECK).await;
    }
}

fn has_no_reader(output: &impl AsFd) -> bool {
    let mut descriptors = [PollFd::new(output.as_fd(), PollFlags::empty())];
    poll(&mut descriptors, PollTimeout::ZERO).is_ok()
        && descriptors[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// Waits for a signal that ends programs, or for the end of the parent process. A parent that SIGKILL ended
/// could not pass on a signal.
pub async fn interrupted() {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
        () = orphaned() => {}
    }
}

/// Waits until another process has become the parent, which happens only when the parent ends.
async fn orphaned() {
    let parent = getppid();
    while getppid() == parent {
        sleep(CHECK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_loses_its_reader() {
        let (reader, writer) = io::pipe().expect("a pipe can be created");
        assert!(!has_no_reader(&writer));
        drop(reader);
        assert!(has_no_reader(&writer));
    }

    #[test]
    fn a_file_needs_no_reader() {
        let file = std::fs::File::open("/dev/null").expect("it exists");
        assert!(!has_no_reader(&file));
    }
}
