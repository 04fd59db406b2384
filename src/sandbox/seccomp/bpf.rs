//! Verdicts to classic BPF: a jump on the architecture, then a binary search over ranges of numbers.
//!
//! The search is not for the calls alone: when a filter is installed, the kernel runs it for every number to learn which are always
//! allowed, and a list of comparisons makes that a millisecond. Spec: seccomp(2), `struct seccomp_data`.

use std::io;

use super::{Comparison, Condition, Verdict};
use crate::sandbox::sys::Instruction;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Skips `jt` instructions when the comparison holds, `jf` when not.
fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn errno(errno: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::from(errno)
}

/// One program for several architectures, each with its ranges.
pub(super) fn assemble(
    sections: &[(u32, Vec<(u32, Verdict)>)],
    refused: u16,
) -> io::Result<Vec<Instruction>> {
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    for (audit, ranges) in sections {
        let mut body = vec![plain(LOAD, NUMBER)];
        body.extend(search(ranges, refused)?);
        program.push(branch(IF_EQUAL, *audit, 1, 0));
        program.push(plain(JUMP, length(&body)?));
        program.extend(body);
    }
    program.push(plain(RETURN, libc::SECCOMP_RET_KILL_PROCESS));
    Ok(program)
}

fn length(code: &[Instruction]) -> io::Result<u32> {
    u32::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The number is in the accumulator and within these ranges. Never falls out at the end.
fn search(ranges: &[(u32, Verdict)], refused: u16) -> io::Result<Vec<Instruction>> {
    match ranges {
        [] => Err(io::ErrorKind::InvalidData.into()),
        [(_, verdict)] => leaf(verdict, refused),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let left = search(low, refused)?;
            let mut code = match u8::try_from(left.len()) {
                Ok(skip) => vec![branch(IF_AT_LEAST, high[0].0, skip, 0)],
                Err(_) => vec![branch(IF_AT_LEAST, high[0].0, 0, 1), plain(JUMP, length(&left)?)],
            };
            code.extend(left);
            code.extend(search(high, refused)?);
            Ok(code)
        }
    }
}

fn leaf(verdict: &Verdict, refused: u16) -> io::Result<Vec<Instruction>> {
    match verdict {
        Verdict::Allow => Ok(vec![plain(RETURN, libc::SECCOMP_RET_ALLOW)]),
        Verdict::Errno(number) => Ok(vec![plain(RETURN, errno(*number))]),
        Verdict::If(conditions) => {
            let mut code = Vec::new();
            for condition in conditions {
                code.extend(test(*condition)?);
            }
            code.push(plain(RETURN, errno(refused)));
            Ok(code)
        }
    }
}

/// Returns "allow" when the condition holds and falls through when not. Arguments are 64 bits wide, values 32.
fn test(condition: Condition) -> io::Result<Vec<Instruction>> {
    let low = ARGUMENTS + 8 * u32::from(condition.index);
    let high = low + 4;
    let value = u32::try_from(condition.value).map_err(|_| io::ErrorKind::InvalidData)?;
    let allow = plain(RETURN, libc::SECCOMP_RET_ALLOW);
    Ok(match condition.op {
        Comparison::Equal => vec![
            plain(LOAD, high),
            branch(IF_EQUAL, 0, 0, 3),
            plain(LOAD, low),
            branch(IF_EQUAL, value, 0, 1),
            allow,
        ],
        Comparison::Less => vec![
            plain(LOAD, high),
            branch(IF_EQUAL, 0, 0, 3),
            plain(LOAD, low),
            branch(IF_AT_LEAST, value, 1, 0),
            allow,
        ],
        Comparison::Greater => vec![
            plain(LOAD, high),
            branch(IF_GREATER, 0, 2, 0),
            plain(LOAD, low),
            branch(IF_GREATER, value, 0, 1),
            allow,
        ],
        Comparison::NoBits => vec![plain(LOAD, low), branch(IF_ANY_BIT, value, 1, 0), allow],
    })
}

/// Runs a program as the kernel would.
#[cfg(test)]
pub(super) fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        NUMBER => number,
        ARCHITECTURE => architecture,
        _ => (arguments[(offset as usize - 16) / 8] >> (8 * (offset % 8))) as u32,
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            LOAD => {
                accumulator = load(k);
                continue;
            }
            RETURN => return k,
            JUMP => {
                at += k as usize;
                continue;
            }
            IF_EQUAL => accumulator == k,
            IF_GREATER => accumulator > k,
            IF_AT_LEAST => accumulator >= k,
            IF_ANY_BIT => accumulator & k != 0,
            _ => panic!("unknown instruction {code:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}
