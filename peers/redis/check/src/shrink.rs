//! The shortest sequence that still shows a difference.

use crate::generate::Step;

/// Leaves out steps, then commands, as long as `fails` says that something is still wrong.
pub(crate) fn shrink(
    mut steps: Vec<Step>,
    mut fails: impl FnMut(&[Step]) -> bool,
    mut budget: usize,
) -> Vec<Step> {
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 && budget > 0 {
        let mut at = 0;
        while at < steps.len() && budget > 0 {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            budget -= 1;
            if fails(&fewer) {
                steps = fewer;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    for n in 0..steps.len() {
        let count = commands(&steps[n]);
        let mut chunk = count.div_ceil(2);
        while chunk > 0 && budget > 0 {
            let mut at = 0;
            while at < commands(&steps[n]) && budget > 0 {
                let mut fewer = steps.clone();
                remove(&mut fewer[n], at, chunk);
                budget -= 1;
                if fails(&fewer) {
                    steps = fewer;
                } else {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
    }
    steps
}

/// How many can be left out.
fn commands(step: &Step) -> usize {
    match step {
        Step::Burst(_, cmds) => cmds.len(),
        Step::Together(bursts) => bursts.iter().map(|(_, cmds)| cmds.len()).sum(),
        Step::Blocked { .. } => 0,
    }
}

fn remove(step: &mut Step, at: usize, count: usize) {
    let range = at..at + count;
    let mut n = 0;
    let mut keep = || {
        n += 1;
        !range.contains(&(n - 1))
    };
    match step {
        Step::Burst(_, cmds) => cmds.retain(|_| keep()),
        Step::Together(bursts) => {
            for (_, cmds) in bursts {
                cmds.retain(|_| keep());
            }
        }
        Step::Blocked { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Cmd;

    #[test]
    fn what_matters_is_left() {
        let burst = |from: u32| {
            Step::Burst(0, (from..from + 9).map(|n| Cmd::new(&[&n.to_string()])).collect())
        };
        let steps = (0..10).map(|n| burst(n * 9)).collect();
        let has = |steps: &[Step], name: &str| {
            let of =
                |s: &Step| matches!(s, Step::Burst(_, c) if c.iter().any(|c| c.name() == name));
            steps.iter().any(of)
        };
        let left = shrink(steps, |steps| has(steps, "7") && has(steps, "80"), 1000);
        let bursts: Vec<_> = left.iter().map(|step| format!("{step:?}")).collect();
        assert_eq!(bursts, ["Burst(0, [7])", "Burst(0, [80])"]);
    }
}
