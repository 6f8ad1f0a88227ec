//! The share of a processor that Lambda gives a function, for a process on this machine.
//!
//! Lambda gives a function processor time in proportion to its memory: one processor with 1,769 MiB. A control group
//! of Linux does the same for a process here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory of a function that has one whole processor, in MiB.
const WHOLE_PROCESSOR: u64 = 1_769;

/// The time within which a process gets its share, in microseconds. AWS does not document Lambda's.
const PERIOD: u64 = 20_000;

/// The folder of control groups of version 2, and that of the processor's groups of version 1.
const VERSION_2: &str = "/sys/fs/cgroup";
const VERSION_1: &str = "/sys/fs/cgroup/cpu";

/// A control group with the share of a function. It is removed when this value is dropped, after its processes ended.
#[derive(Debug)]
pub struct Share {
    group: PathBuf,
}

impl Share {
    /// The share of a function with `memory` MiB.
    ///
    /// # Errors
    /// If the system has no control groups, or does not allow this process to create one.
    pub fn of_memory(memory: u64) -> Result<Share, String> {
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let is_version_1 = Path::new(VERSION_1).join("cpu.cfs_quota_us").exists();
        let parent = if is_version_1 { VERSION_1 } else { VERSION_2 };
        let group = Path::new(parent).join(format!("discovery-{}-{number}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        let share = Share { group };
        let quota = PERIOD * memory / WHOLE_PROCESSOR;
        if is_version_1 {
            share.set("cpu.cfs_period_us", &PERIOD.to_string())?;
            share.set("cpu.cfs_quota_us", &quota.to_string())?;
        } else {
            share.set("cpu.max", &format!("{quota} {PERIOD}"))?;
        }
        Ok(share)
    }

    /// Limits a process to this share, together with the other processes in it.
    ///
    /// # Errors
    /// If the process has ended, or the system does not allow it.
    pub fn limit(&self, process: u32) -> Result<(), String> {
        self.set("cgroup.procs", &process.to_string())
    }

    fn set(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.group.join(file);
        fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
    }
}
