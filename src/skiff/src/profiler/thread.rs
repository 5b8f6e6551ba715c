//! A look at one thread of another process: stopped for some microseconds, in which its registers and its stack are copied.
//! Nothing is left behind, and if this process dies on the way, the kernel lets the thread go.

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How much of a stack is looked at; what is further out is not seen.
const STACK: usize = 256 * 1024;
const PAGE: usize = 4096;

/// What of the registers finds the callers.
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    pub pc: u64,
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
    /// The link register, where there is one.
    #[cfg_attr(not(target_arch = "aarch64"), expect(dead_code))]
    pub lr: u64,
    /// What a system call gives back that was left because of us: `-ERESTARTSYS` and its like.
    result: i64,
}

#[cfg(target_arch = "x86_64")]
fn registers(tid: Pid) -> nix::Result<Registers> {
    let r = ptrace::getregs(tid)?;
    let result = if r.orig_rax as i64 >= 0 { r.rax as i64 } else { 0 };
    Ok(Registers { pc: r.rip, sp: r.rsp, fp: r.rbp, lr: 0, result })
}

#[cfg(target_arch = "aarch64")]
fn registers(tid: Pid) -> nix::Result<Registers> {
    let r = ptrace::getregs(tid)?;
    Ok(Registers { pc: r.pc, sp: r.sp, fp: r.regs[29], lr: r.regs[30], result: r.regs[0] as i64 })
}

impl Registers {
    /// Whether the thread was asleep in a system call: `EINTR`, `ERESTART*`.
    pub fn is_asleep(&self) -> bool {
        matches!(self.result, -4 | -516..=-512)
    }
}

/// The registers of `tid`, and as much of its stack, from its top on, as there is, in `stack`. `None`: the thread has ended.
///
/// Errors where the system forbids it.
pub fn look(tid: Pid, stack: &mut Vec<u8>) -> nix::Result<Option<Registers>> {
    let gone = |e| if e == Errno::ESRCH { Ok(None) } else { Err(e) };
    if let Err(e) = ptrace::seize(tid, ptrace::Options::empty()) {
        return gone(e);
    }
    if let Err(e) = ptrace::interrupt(tid) {
        return gone(e);
    }
    // a signal that came between is the thread's own
    let signal: Option<Signal> = match waitpid(tid, Some(WaitPidFlag::__WALL)) {
        Ok(WaitStatus::PtraceEvent(..)) => None,
        Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
        Ok(_) | Err(Errno::ECHILD) => return Ok(None),
        Err(e) => return Err(e),
    };
    let seen = registers(tid).inspect(|r| copy(tid, r.sp, stack));
    match (seen, ptrace::detach(tid, signal)) {
        (Ok(seen), Ok(())) => Ok(Some(seen)),
        (Err(e), _) | (_, Err(e)) => gone(e),
    }
}

/// A page at a time, as where the stack ends nothing more is mapped.
fn copy(pid: Pid, sp: u64, stack: &mut Vec<u8>) {
    stack.resize(STACK, 0);
    let start = sp as usize;
    let mut pages = Vec::with_capacity(STACK / PAGE + 1);
    let (mut at, end) = (start, start.saturating_add(STACK));
    while at < end {
        let next = (at / PAGE + 1).saturating_mul(PAGE).min(end);
        pages.push(RemoteIoVec { base: at, len: next - at });
        at = next;
    }
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(stack)], &pages).unwrap_or(0);
    stack.truncate(read);
}
