//! As much of a 64-bit ELF file as stacks take: sections, where code is mapped, symbols.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use apiserver::profile::Mapping;

/// No table is larger.
const LARGEST: u64 = 256 << 20;

/// A section of a file: its address there, and what is in it.
pub type Section = (Range<u64>, Vec<u8>);

/// What the headers of a 64-bit ELF file say.
pub struct Elf<'a> {
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
    pub fn open(file: &'a File) -> io::Result<Elf<'a>> {
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

    pub fn section(&self, name: &str) -> io::Result<Option<Section>> {
        let Some((_, address, offset, size)) = self.sections.iter().find(|(n, ..)| n == name) else { return Ok(None) };
        Ok(Some((*address..address + size, read(self.file, *offset, *size)?)))
    }

    pub fn place(&self, name: &str) -> Option<Range<u64>> {
        let (_, address, _, size) = self.sections.iter().find(|(n, ..)| n == name)?;
        Some(*address..address + size)
    }

    /// What is to be added to the file's addresses where `mapping` maps it.
    pub fn bias(&self, mapping: &Mapping) -> Option<u64> {
        let down = |n: u64| n & !0xfff;
        let (offset, address) = self.code.iter().find(|(offset, _)| down(*offset) == mapping.offset)?;
        Some(mapping.start.wrapping_sub(address - (offset - down(*offset))))
    }

    /// The functions of `table`: `.symtab`, or of what programs link with, `.dynsym`.
    pub fn symbols(&self, table: &str, names: &str) -> io::Result<Option<Symbols>> {
        const SIZE: usize = 24;
        const FUNCTION: u8 = 2;
        let (Some((_, table)), Some((_, names))) = (self.section(table)?, self.section(names)?) else {
            return Ok(None);
        };
        let mut all = Vec::new();
        for s in table.chunks_exact(SIZE).filter(|s| s[4] & 0xf == FUNCTION) {
            let (start, size) = (number::<8>(s, 8)?, number::<8>(s, 16)?);
            all.push((start, start.saturating_add(size), number::<4>(s, 0)? as u32));
        }
        all.sort_unstable();
        Ok(Some(Symbols { all, names }))
    }
}

/// Functions by their addresses in the file.
pub struct Symbols {
    /// Starts, ends and where the names are, sorted.
    all: Vec<(u64, u64, u32)>,
    names: Vec<u8>,
}

impl Symbols {
    pub fn at(&self, address: u64) -> Option<Cow<'_, str>> {
        let after = self.all.partition_point(|(start, ..)| *start <= address);
        let (_, end, name) = self.all[..after].last()?;
        let name = self.names.get(*name as usize..).filter(|_| address < *end)?;
        Some(String::from_utf8_lossy(name.split(|b| *b == 0).next()?))
    }
}
