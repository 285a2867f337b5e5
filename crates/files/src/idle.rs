//! Working only when nobody else does.

use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, unix};

/// Gives the calling thread, and threads it starts, the lowest priorities: nice 19 and `SCHED_IDLE` for the processor.
/// For the disk the idle class follows, as the kernel takes it from `SCHED_IDLE` (`task_nice_ioclass` in linux/ioprio.h)
/// for every thread whose own class was never set; ionice(1) then shows none. A thread cannot take it back without
/// privileges.
pub fn go_idle() {
    // Both only ever lower, which is allowed to everybody; a sandbox that forbids it anyway costs the courtesy, not the scan.
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = unix::set_thread_priority_and_policy(unix::thread_native_id(), ThreadPriority::Min, idle) {
        tracing::warn!(?error, "the scan's thread could not be scheduled as idle");
    }
    // Afterwards: the call above may set the nice value to zero.
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::warn!(%error, "the scan's thread could not be made nice");
    }
}
