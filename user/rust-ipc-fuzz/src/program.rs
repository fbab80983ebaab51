// SPDX-License-Identifier: GPL-2.0

//! Programs: a few processes of one thread each that take turns. What comes of that is the same each
//! time.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rust_ipc_oracle::sys;

use crate::{
    actor::{Actor, Process},
    board::Board,
    random::mix,
    run::at_end,
};

/// Operations of a program.
pub const LEN: usize = 300;
const PROCESSES: usize = 3;
const FILES: usize = 2;
/// A program that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program of a seed.
fn of_seed(seed: u64, len: usize) -> Vec<u64> {
    (0..len).map(|at| mix(seed, at as u64)).collect()
}

/// Whose turn it is to do this.
fn whose(step: u64) -> usize {
    (mix(step, 0) % PROCESSES as u64) as usize
}

/// Has processes carry a program out. Says what came of it, in a number.
fn carry_out(board: &'static Board, program: &[u64]) -> Result<u64> {
    board.turn.store(0, Relaxed);
    board.digest.store(0, Relaxed);
    let mut left = Vec::new();
    for index in 0..PROCESSES {
        left.push(sys::fork(|| {
            if let Err(error) = inside(board, index, program) {
                board.complain(&format!("{error:#}"));
            }
        })?);
    }
    let begin = Instant::now();
    while !left.is_empty() {
        if let Some((pid, status)) = crate::sys::ended_child() {
            left.retain(|&own| own != pid);
            if status != 0 {
                board.complain(&format!("a process of the program ended with {status}"));
            }
        } else if begin.elapsed() > PATIENCE {
            let texts: String = (0..PROCESSES).map(|index| at_end(board, index)).collect();
            board.complain(&format!("the program hangs\n{texts}"));
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(text) = board.complaint() {
            for pid in left {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
            bail!("{text}");
        }
    }
    Ok(board.digest.load(Relaxed))
}

/// What one of the processes is.
fn inside(board: &'static Board, index: usize, program: &[u64]) -> Result<()> {
    board.pids[index].store(std::process::id() as i32, Relaxed);
    let is_wild = mix(program[0], index as u64) % 3 == 0;
    let process = Arc::new(Process::new(board, FILES, is_wild, true, false)?);
    let mut actor = Actor::new(process, &board.slots[index][0], false, false)?;
    for (turn, &step) in program.iter().enumerate() {
        if whose(step) != index {
            continue;
        }
        board.wait_for_turn(turn as u32);
        let digest = board.digest.load(Relaxed);
        board.digest.store(mix(digest, actor.step(step)), Relaxed);
        board.next_turn();
    }
    // What there is goes in an order, too.
    board.wait_for_turn((program.len() + index) as u32);
    drop(actor);
    board.next_turn();
    Ok(())
}

/// Carries out the program of a seed. What came of it, in a number.
pub fn digest(seed: u64, len: usize) -> Result<u64> {
    let board = crate::sys::board()?;
    carry_out(board, &of_seed(seed, len))
}
