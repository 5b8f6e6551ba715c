//! What code a process has mapped, and how its stacks are walked: from the tables for exceptions that every binary carries,
//! stripped or not.

use std::borrow::Cow;
use std::fs::File;
use std::io;

use apiserver::profile::Mapping;
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module, UnwindRegsNative, Unwinder,
    UnwinderNative,
};
use nix::unistd::Pid;

use super::elf::{Elf, Symbols};
use super::thread::Registers;

/// How deep a stack is followed.
const DEEPEST: usize = 256;

pub struct Modules {
    /// With what their addresses are more than those in the file, and the names there, where they are known.
    mappings: Vec<(Mapping, u64, Option<Symbols>)>,
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
            let (mut bias, mut symbols) = (0, None);
            if let Ok(code) = file.and_then(|f| read(&f, &mapping, own)) {
                mapping.build_id = code.build_id;
                mapping.named = code.symbols.is_some();
                (bias, symbols) = (code.bias, code.symbols);
                unwinder.add_module(code.module);
            }
            let place = if own { 0 } else { mappings.len() };
            mappings.insert(place, (mapping, bias, symbols));
        }
        Ok(Modules { mappings, unwinder, cache: CacheNative::new() })
    }

    /// The program's own first.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().map(|(mapping, ..)| mapping)
    }

    /// The place of the mapping that `address` is in, and the function.
    pub fn find(&self, address: u64) -> Option<(usize, Option<Cow<'_, str>>)> {
        let place = self.mappings().position(|m| (m.start..m.end).contains(&address))?;
        let (_, bias, symbols) = &self.mappings[place];
        Some((place, symbols.as_ref().and_then(|s| s.at(address.wrapping_sub(*bias)))))
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
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        offset,
        path: path.into(),
        build_id: String::new(),
        named: false,
    })
}

/// What a file says of the code in it.
struct Code {
    module: Module<Vec<u8>>,
    bias: u64,
    build_id: String,
    symbols: Option<Symbols>,
}

/// Of the file that `mapping` maps. What libraries offer is enough to name most of their functions; the program (`own`) has its
/// symbols or has been stripped, and then a copy that has not can be given to the reader of the profile.
fn read(file: &File, mapping: &Mapping, own: bool) -> io::Result<Code> {
    let elf = Elf::open(file)?;
    let bias = elf.bias(mapping).ok_or(io::ErrorKind::InvalidData)?;
    let section = |name: &str| elf.section(name).map(Option::unzip);
    let (eh_frame_svma, eh_frame) = section(".eh_frame")?;
    let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr")?;
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
    let mut symbols = elf.symbols(".symtab", ".strtab")?;
    if symbols.is_none() && !own {
        symbols = elf.symbols(".dynsym", ".dynstr")?;
    }
    let module = Module::new(mapping.path.clone(), range, bias, info);
    Ok(Code { module, bias, build_id: build_id.unwrap_or_default(), symbols })
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
        let own = modules.mappings().next().unwrap();
        assert_eq!(own.path, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(own.named && !own.build_id.is_empty());
        // where this function is
        let here = this_program_can_be_read as fn() as usize as u64;
        let (place, name) = modules.find(here).unwrap();
        assert!(place == 0 && name.unwrap().contains("this_program_can_be_read"));
        assert!(modules.find(8).is_none());
        assert!(Elf::open(&File::open("/proc/self/status").unwrap()).is_err());
    }
}
