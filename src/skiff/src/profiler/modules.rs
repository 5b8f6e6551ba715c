//! What code a process has mapped, and how its stacks are walked: from the tables for exceptions that every binary carries,
//! stripped or not.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use apiserver::profile::Mapping;
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module, UnwindRegsNative, Unwinder,
    UnwinderNative,
};
use nix::unistd::Pid;

use super::thread::Registers;

/// How deep a stack is followed.
const DEEPEST: usize = 256;
/// No table is larger.
const LARGEST: u64 = 256 << 20;

pub struct Modules {
    mappings: Vec<Mapping>,
    unwinder: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
}

impl Modules {
    /// Those of `pid` now. Skiff loads nothing later on.
    pub fn of(pid: Pid) -> io::Result<Modules> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let program = format!("/proc/{pid}/exe");
        let name = std::fs::read_link(&program).unwrap_or_default();
        let (mut mappings, mut unwinder) = (Vec::new(), UnwinderNative::new());
        for mut mapping in maps.lines().filter_map(executable) {
            // it is there even where another has taken its place
            let own = mapping.path.as_bytes() == name.as_os_str().as_encoded_bytes();
            let file = File::open(if own { &program } else { &mapping.path });
            // a file that cannot be read leaves frame pointers
            if let Ok((module, build_id)) = file.and_then(|f| module(&f, &mapping)) {
                mapping.build_id = build_id;
                unwinder.add_module(module);
            }
            let place = if own { 0 } else { mappings.len() };
            mappings.insert(place, mapping);
        }
        Ok(Modules { mappings, unwinder, cache: CacheNative::new() })
    }

    /// The program's own first.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// The addresses of a stack, the innermost first; each is within the instruction that calls the one before.
    pub fn walk(&mut self, registers: &Registers, stack: &[u8]) -> Vec<u64> {
        #[cfg(target_arch = "x86_64")]
        let native = UnwindRegsNative::new(registers.pc, registers.sp, registers.fp);
        #[cfg(target_arch = "aarch64")]
        let native = UnwindRegsNative::new(registers.lr, registers.sp, registers.fp);
        let mut read = |address: u64| {
            let at = address.checked_sub(registers.sp).and_then(|at| usize::try_from(at).ok()).ok_or(())?;
            let word = stack.get(at..).and_then(|s| s.first_chunk()).ok_or(())?;
            Ok(u64::from_le_bytes(*word))
        };
        let mut frames = self.unwinder.iter_frames(registers.pc, native, &mut self.cache, &mut read);
        let mut out = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            out.push(match frame {
                FrameAddress::InstructionPointer(pc) => pc,
                FrameAddress::ReturnAddress(_) => frame.address_for_lookup(),
            });
            if out.len() == DEEPEST {
                break;
            }
        }
        out
    }
}

/// A line of `/proc/PID/maps`, if it is a file's code.
fn executable(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (permissions, offset) = (words.next()?, number(words.next()?)?);
    let path = words.nth(2)?.trim_start();
    (permissions.contains('x') && path.starts_with('/')).then_some(())?;
    Some(Mapping { start: number(start)?, end: number(end)?, offset, path: path.into(), build_id: String::new() })
}

/// A section of a file: its address there, and what is in it.
type Section = (Range<u64>, Vec<u8>);

/// The unwind tables of what `mapping` maps, and the build id.
fn module(file: &File, mapping: &Mapping) -> io::Result<(Module<Vec<u8>>, String)> {
    let elf = Elf::open(file)?;
    let bias = elf.bias(mapping).ok_or(io::ErrorKind::InvalidData)?;
    let section = |name: &str| -> io::Result<(Option<Range<u64>>, Option<Vec<u8>>)> {
        Ok(elf.section(name)?.map_or((None, None), |(range, data)| (Some(range), Some(data))))
    };
    let ((eh_frame_svma, eh_frame), (eh_frame_hdr_svma, eh_frame_hdr)) =
        (section(".eh_frame")?, section(".eh_frame_hdr")?);
    let (_, note) = section(".note.gnu.build-id")?;
    let info = ExplicitModuleSectionInfo {
        text_svma: elf.place(".text"),
        eh_frame_svma,
        eh_frame,
        eh_frame_hdr_svma,
        eh_frame_hdr,
        ..ExplicitModuleSectionInfo::default()
    };
    // the identifier comes after three numbers and the owner's name
    let build_id = note.and_then(|n| n.get(16..).map(|id| id.iter().map(|b| format!("{b:02x}")).collect()));
    let range = mapping.start..mapping.end;
    Ok((Module::new(mapping.path.clone(), range, bias, info), build_id.unwrap_or_default()))
}

/// What the headers of a 64-bit ELF file say.
struct Elf<'a> {
    file: &'a File,
    /// Names, addresses, offsets, sizes.
    sections: Vec<(String, u64, u64, u64)>,
    /// Offsets in the file and addresses of what is executable.
    code: Vec<(u64, u64)>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> io::Result<u64> {
    let found = bytes.get(at..at + N).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(found.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

fn read(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut out = vec![0; size as usize];
    file.read_exact_at(&mut out, offset)?;
    Ok(out)
}

impl<'a> Elf<'a> {
    fn open(file: &'a File) -> io::Result<Elf<'a>> {
        const EXECUTABLE: u64 = 1;
        const LOAD: u64 = 1;
        let head = read(file, 0, 64)?;
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let table = |offset, size, count| -> io::Result<(Vec<u8>, usize)> {
            let size = number::<2>(&head, size)?;
            let all = read(file, number::<8>(&head, offset)?, size * number::<2>(&head, count)?)?;
            Ok((all, size.max(64) as usize))
        };
        let mut code = Vec::new();
        let size = number::<2>(&head, 54)?.max(56) as usize;
        let (segments, _) = table(32, 54, 56)?;
        for s in segments.chunks_exact(size) {
            if number::<4>(s, 0)? == LOAD && number::<4>(s, 4)? & EXECUTABLE != 0 {
                code.push((number::<8>(s, 8)?, number::<8>(s, 16)?));
            }
        }
        let (headers, size) = table(40, 58, 60)?;
        let all: Vec<&[u8]> = headers.chunks_exact(size).collect();
        let place = |s: &[u8]| -> io::Result<(u64, u64, u64)> {
            Ok((number::<8>(s, 16)?, number::<8>(s, 24)?, number::<8>(s, 32)?))
        };
        let names = all.get(number::<2>(&head, 62)? as usize).ok_or(io::ErrorKind::InvalidData)?;
        let (_, offset, length) = place(names)?;
        let names = read(file, offset, length)?;
        let mut sections = Vec::with_capacity(all.len());
        for s in all {
            let name = names.get(number::<4>(s, 0)? as usize..).unwrap_or_default();
            let name = name.split(|b| *b == 0).next().unwrap_or_default();
            let (address, offset, size) = place(s)?;
            sections.push((String::from_utf8_lossy(name).into_owned(), address, offset, size));
        }
        Ok(Elf { file, sections, code })
    }

    fn section(&self, name: &str) -> io::Result<Option<Section>> {
        let Some((_, address, offset, size)) = self.sections.iter().find(|(n, ..)| n == name) else { return Ok(None) };
        Ok(Some((*address..address + size, read(self.file, *offset, *size)?)))
    }

    fn place(&self, name: &str) -> Option<Range<u64>> {
        let (_, address, _, size) = self.sections.iter().find(|(n, ..)| n == name)?;
        Some(*address..address + size)
    }

    /// What is to be added to the file's addresses where `mapping` maps it.
    fn bias(&self, mapping: &Mapping) -> Option<u64> {
        let down = |n: u64| n & !0xfff;
        let (offset, address) = self.code.iter().find(|(offset, _)| down(*offset) == mapping.offset)?;
        Some(mapping.start.wrapping_sub(address - (offset - down(*offset))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let line = "55d0-55f0 r-xp 00001000 08:01 1234                       /usr/local/bin/a skiff (deleted)";
        let m = executable(line).unwrap();
        assert_eq!((m.start, m.end, m.offset, &*m.path), (0x55d0, 0x55f0, 0x1000, "/usr/local/bin/a skiff (deleted)"));
        for other in ["55d0-55f0 r--p 0 08:01 1 /bin/x", "7f-80 r-xp 0 00:00 0 [vdso]", "7f-80 rwxp 0 00:00 0", ""] {
            assert!(executable(other).is_none(), "{other}");
        }
    }

    #[test]
    fn this_program_can_be_read() {
        let modules = Modules::of(Pid::this()).unwrap();
        let own = &modules.mappings()[0];
        assert_eq!(own.path, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(module(&File::open(&own.path).unwrap(), own).is_ok());
        assert!(Elf::open(&File::open("/proc/self/status").unwrap()).is_err());
    }
}
