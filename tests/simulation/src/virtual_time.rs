//! Virtual time: the clock jumps to the next timer as soon as nothing else can run.

/// Runs `future` to its end on virtual time. The same seed gives the same run.
///
/// # Panics
/// If the system cannot create a runtime.
pub fn run<T>(seed: u64, future: impl Future<Output = T>) -> T {
    // The SDK takes the jitter of its retries from this generator.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
