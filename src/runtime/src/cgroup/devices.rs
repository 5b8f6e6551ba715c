//! Which devices a version 2 group may use. Version 1 has files for it (libcontainer writes them); version 2 asks a BPF
//! program attached to the group, which is assembled here the way runc does.

/// One kind of device, or all. What no rule allows is denied.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// `c`, `b`; `None`: both
    pub kind: Option<char>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Letters of `rwm`.
    pub access: String,
}

/// What every container may: make any node, use the harmless ones.
pub fn defaults() -> Vec<Rule> {
    let node = |major, minor| Rule { kind: Some('c'), major: Some(major), minor, access: "rwm".to_owned() };
    let make = Rule { kind: None, major: None, minor: None, access: "m".to_owned() };
    let nodes = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    let nodes = nodes.into_iter().map(|(major, minor)| node(major, Some(minor)));
    // 136: pseudo-terminals
    std::iter::once(make).chain(nodes).chain([node(136, None)]).collect()
}

/// The program: for each rule, jump to the next unless all of it fits; else allow. Offsets are in the kernel's
/// `struct bpf_cgroup_dev_ctx { access_type, major, minor }`.
pub fn program(rules: &[Rule]) -> Vec<u64> {
    let mut code = vec![
        load(2, 0), // access_type: kind below, access above
        load(3, 0),
        and(2, 0xffff),
        shift_right(3, 16),
        load(4, 4), // major
        load(5, 8), // minor
    ];
    for rule in rules {
        let mut checks = Vec::new();
        if let Some(kind) = rule.kind {
            checks.push((None, 2, Against::Number(if kind == 'b' { 1 } else { 2 })));
        }
        let letters = [('m', 1), ('r', 2), ('w', 4)];
        let mask = letters.iter().filter(|(l, _)| rule.access.contains(*l)).map(|(_, bit)| bit).sum::<u32>();
        if mask != 7 {
            // what is asked for must be within what is allowed
            checks.push((Some([copy(1, 3), and(1, mask)]), 1, Against::Register(3)));
        }
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            if let Some(number) = number {
                checks.push((None, register, Against::Number(number)));
            }
        }
        let length: usize = checks.iter().map(|(before, ..)| 1 + before.map_or(0, |b| b.len())).sum();
        // behind this rule's checks and its two instructions of "allow"
        let mut left = length + 2;
        for (before, register, against) in checks {
            let before = before.into_iter().flatten();
            for instruction in before {
                code.push(instruction);
                left -= 1;
            }
            left -= 1;
            code.push(jump_unless_equal(register, against, u16::try_from(left).unwrap_or(u16::MAX)));
        }
        code.extend([set(0, 1), EXIT]);
    }
    code.extend([set(0, 0), EXIT]);
    code
}

#[derive(Clone, Copy)]
enum Against {
    Number(u32),
    Register(u8),
}

const EXIT: u64 = 0x95;

fn instruction(opcode: u8, to: u8, from: u8, offset: u16, number: u32) -> u64 {
    u64::from(opcode) | u64::from(from << 4 | to) << 8 | u64::from(offset) << 16 | u64::from(number) << 32
}

/// `to = *(u32 *)(r1 + offset)`; the first ones run while r1 still is the context.
fn load(to: u8, offset: u16) -> u64 {
    instruction(0x61, to, 1, offset, 0)
}

fn and(to: u8, number: u32) -> u64 {
    instruction(0x54, to, 0, 0, number)
}

fn shift_right(to: u8, bits: u32) -> u64 {
    instruction(0x74, to, 0, 0, bits)
}

fn copy(to: u8, from: u8) -> u64 {
    instruction(0xbc, to, from, 0, 0)
}

fn set(to: u8, number: u32) -> u64 {
    instruction(0xb7, to, 0, 0, number)
}

fn jump_unless_equal(register: u8, against: Against, offset: u16) -> u64 {
    match against {
        Against::Number(number) => instruction(0x55, register, 0, offset, number),
        Against::Register(other) => instruction(0x5d, register, other, offset, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_lands_on_a_rule() {
        let code = program(&defaults());
        let starts: Vec<usize> = (0..code.len()).filter(|i| *i == 6 || *i > 0 && code[i - 1] == EXIT).collect();
        for (at, instruction) in code.iter().enumerate() {
            if matches!(instruction & 0xff, 0x55 | 0x5d) {
                let to = at + 1 + (instruction >> 16 & 0xffff) as usize;
                assert!(starts.contains(&to), "{at} → {to}");
            }
        }
        assert_eq!(code[code.len() - 2..], [set(0, 0), EXIT]);
        assert_eq!(program(&[]).len(), 8);
    }
}
