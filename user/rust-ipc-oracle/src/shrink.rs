// SPDX-License-Identifier: GPL-2.0

//! Makes a script that shows a difference as short as it can be while it still shows one.

use anyhow::Result;

use crate::script::Script;

/// Leaves out steps, then commands of steps, for as long as `differs` says yes. That may well be
/// another difference in the end; it is one all the same.
pub fn shrink(script: &Script, mut differs: impl FnMut(&Script) -> Result<bool>) -> Result<Script> {
    let mut best = script.clone();
    let mut chunk = best.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        let mut any = false;
        while at < best.steps.len() {
            let mut shorter = best.clone();
            let end = (at + chunk).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            if differs(&shorter)? {
                best = shorter;
                any = true;
            } else {
                at += chunk;
            }
        }
        chunk = match (chunk, any) {
            (1, true) => 1,
            (1, false) => 0,
            _ => chunk.div_ceil(2),
        };
    }
    let mut at = 0;
    while at < best.steps.len() {
        let simpler = best.steps[at].simpler().into_iter().find_map(|step| {
            let mut simpler = best.clone();
            simpler.steps[at] = step;
            match differs(&simpler) {
                Ok(true) => Some(Ok(simpler)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        });
        match simpler {
            Some(simpler) => best = simpler?,
            None => at += 1,
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let text = "== x\nA up\nB up\nA: enter; acquire 1; read\nB close\nA close\nB up\n";
        let script = &Script::parse_all(text).unwrap()[0];
        let shorter = shrink(script, |script| {
            let text = script.to_string();
            Ok(text.contains("acquire") && text.contains("A close"))
        });
        assert_eq!(
            shorter.unwrap().to_string(),
            "== x\nA: acquire 1\nA close\n"
        );
    }
}
