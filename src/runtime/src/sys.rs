//! The system call edge: the few calls that have no safe wrapper, each saying why it is sound, and small helpers on
//! top of the safe ones. Nothing else in this crate is `unsafe`.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
};
use nix::sys::stat::Mode;

/// The largest packet on a shim's socket.
pub const PACKET_MAX: usize = 128 * 1024;
const FDS_MAX: usize = 4;

/// Gives pages of the heap that nothing is on any more back to the kernel, which glibc does by itself only at the heap's end.
/// Takes milliseconds, for which other threads' allocations may wait. Other allocators need no telling.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only what is free, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// `fork`, for the shim only: it has one thread, so the child may do anything.
pub fn fork() -> io::Result<nix::unistd::ForkResult> {
    // SAFETY: the shim is single-threaded (it starts no thread and runs before any runtime), so the child does not
    // inherit a lock held by a thread that it lacks.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// Ends the process without running the parent's exit handlers a second time.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Gives a child that will exec the signal state that programs expect: nothing blocked, nothing ignored.
pub fn reset_signals() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: installs the default disposition, no handler runs.
        unsafe { nix::sys::signal::sigaction(signal, &default) }?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Ignores those that would end the shim by accident.
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in signals {
        // SAFETY: installs "ignore", no handler runs.
        unsafe { nix::sys::signal::sigaction(*signal, &ignore) }?;
    }
    Ok(())
}

nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);

/// Sets a terminal's size.
pub fn resize(terminal: BorrowedFd<'_>, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open and `size` lives through the call, which only reads it.
    unsafe { tiocswinsz(terminal.as_raw_fd(), &size) }?;
    Ok(())
}

nix::ioctl_readwrite_bad!(siocgifflags, libc::SIOCGIFFLAGS, libc::ifreq);
nix::ioctl_write_ptr_bad!(siocsifflags, libc::SIOCSIFFLAGS, libc::ifreq);

/// Brings up the loopback interface of the network namespace that the caller lives in.
pub fn loopback_up() -> io::Result<()> {
    let socket = nix::sys::socket::socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    // SAFETY: the socket is open, `request` is a valid `ifreq` with a terminated name, and after SIOCGIFFLAGS the
    // union holds flags.
    unsafe {
        siocgifflags(socket.as_raw_fd(), &mut request)?;
        request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        siocsifflags(socket.as_raw_fd(), &request)?;
    }
    Ok(())
}

/// A non-blocking seqpacket listener at `path`.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let fd = seqpacket()?;
    nix::sys::socket::bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    nix::sys::socket::listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// A non-blocking stream listener at `path`: where libcontainer sends a terminal's master.
pub fn listen_stream(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    nix::sys::socket::listen(&fd, Backlog::new(1)?)?;
    Ok(fd)
}

/// Connects to [`listen`]'s socket. A listener on this machine answers at once or not at all.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let fd = seqpacket()?;
    nix::sys::socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

/// The next waiting connection, non-blocking.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: accept4 returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends one packet with descriptors.
pub fn send(socket: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage] = if raw.is_empty() { &[] } else { &rights };
    nix::sys::socket::sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(data)],
        control,
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    Ok(())
}

/// Receives one packet with its descriptors into `buffer`; empty: the peer has closed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = nix::sys::socket::recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT,
    )?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just installed these descriptors for us, and nobody else knows of them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet is longer than the protocol allows"));
    }
    Ok((message.bytes, fds))
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(fd, FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Opens `path` as if `root` were `/`: symbolic links and `..` cannot leave it.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let relative: PathBuf = path.components().filter(|c| !matches!(c, Component::RootDir)).collect();
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { &relative };
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    Ok(nix::fcntl::openat2(root, relative, how)?)
}

/// Opens the directory `path` in `root` as [`open_in`] does, and makes what is missing of it (mode 0755), also where a
/// symbolic link points to.
pub fn mkdir_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    mkdir_following(root, path, 40)
}

fn mkdir_following(root: BorrowedFd<'_>, path: &Path, links: u32) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open_in(root, path, directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no such directory: {}", path.display())));
    };
    let parent = mkdir_following(root, parent_path, links)?;
    match nix::sys::stat::mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) => {}
        Err(nix::errno::Errno::EEXIST) => {
            // made by someone else meanwhile, or a link to what is not there
            if let Ok(link) = nix::fcntl::readlinkat(&parent, name) {
                let links = links.checked_sub(1).ok_or(nix::errno::Errno::ELOOP)?;
                return mkdir_following(root, &parent_path.join(link), links);
            }
        }
        Err(error) => return Err(error.into()),
    }
    open_in(root, path, directory)
}

/// A path to `name` in an open directory, for calls that only take paths. `name` must be one component.
pub fn at(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// Opens a host directory as a root for [`open_in`].
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// Points the standard streams to `/dev/null`.
pub fn detach_stdio() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(null.as_fd())?;
    nix::unistd::dup2_stdout(null.as_fd())?;
    nix::unistd::dup2_stderr(null.as_fd())?;
    Ok(())
}

/// Closes every descriptor but the standard streams.
pub fn close_all() {
    // SAFETY: only called in a child that keeps no owned descriptor: it never returns to code that has one.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// Sends a signal by its number: real-time signals have no name in `nix`.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `kill` has no preconditions; `pid` is one process, not a group.
    nix::errno::Errno::result(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// Loads a device program and attaches it to a version 2 control group, which keeps it.
pub fn attach_device_program(group: BorrowedFd<'_>, code: &[u64]) -> io::Result<()> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    /// The beginning of the kernel's `union bpf_attr` for loading; what is not given counts as zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    /// The same for attaching.
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    fn bpf<T>(command: libc::c_int, argument: &T) -> io::Result<libc::c_long> {
        // SAFETY: `argument` is laid out as the command's part of `union bpf_attr`, its size is given, and what it
        // points to lives through the call, which only reads it.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, argument, size_of::<T>()) };
        Ok(nix::errno::Errno::result(result)?)
    }
    let count = u32::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let license = c"Apache-2.0";
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &load)?;
    let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let number = |fd: RawFd| u32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let attach = Attach {
        target: number(group.as_raw_fd())?,
        program: number(program.as_raw_fd())?,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attach).map(drop)
}

/// Gives a descriptor to tokio's reactor.
pub fn register(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` answers `as_raw_fd` with the same open descriptor for as long as it lives.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}

/// Gives back the resident pages of program text and constants, which the kernel maps generously and an idle process does
/// not need. They come back from the page cache as they are used. For a process with one thread.
pub fn drop_text() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let pagemap = std::fs::File::open("/proc/self/pagemap")?;
    let mut runs = Vec::new();
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (Some(range), Some("r-xp" | "r--p"), Some(path)) = (parts.next(), parts.next(), parts.nth(3)) else {
            continue;
        };
        let Some((start, end)) = range.split_once('-').filter(|_| path.starts_with('/')) else { continue };
        let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)) else { continue };
        file_pages(&pagemap, start, end, &mut runs)?;
    }
    // all at once and at last: what runs in between would bring its own pages back
    for (start, bytes) in runs {
        // SAFETY: pages of a file, read-only and as the file has them: there is nothing in them to lose.
        unsafe { libc::madvise(start as *mut libc::c_void, bytes, libc::MADV_DONTNEED) };
    }
    Ok(())
}

/// The resident pages of a range that nobody writes to, as places and sizes. Pages that were written before (relocations)
/// are the process's own, and not among them.
fn file_pages(pagemap: &std::fs::File, start: usize, end: usize, runs: &mut Vec<(usize, usize)>) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    const ENTRIES: usize = 512;
    const PRESENT: u64 = 1 << 63;
    const OF_FILE: u64 = 1 << 61;
    // SAFETY: reads a constant of the system.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
    let mut entries = [0; ENTRIES * 8];
    for chunk in (start..end).step_by(page * ENTRIES) {
        let pages = ((end - chunk) / page).min(ENTRIES);
        let known = &mut entries[..pages * 8];
        pagemap.read_exact_at(known, (chunk / page * 8) as u64)?;
        let of_file = |n: usize| {
            let entry = u64::from_ne_bytes(std::array::from_fn(|b| known[n * 8 + b]));
            entry & (PRESENT | OF_FILE) == PRESENT | OF_FILE
        };
        let mut at = 0;
        while at < pages {
            let run = (at..pages).take_while(|n| of_file(*n)).count();
            if run > 0 {
                runs.push((chunk + at * page, run * page));
            }
            at += run + 1;
        }
    }
    Ok(())
}
