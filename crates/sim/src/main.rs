//! x
use gemini_relay_sim::{scenario::{self,Size}, scheduler::*, run, bound};
use gemini_relay_core::Strategy;
use std::io::Write;
fn main() {
    let only = std::env::args().nth(1);
    let size = if std::env::args().nth(2).is_some() { Size::Quick } else { Size::Whole };
    let mut o = std::io::stdout();
    for s in scenario::ALL.iter().filter(|s| only.as_deref().is_none_or(|o| o=="all" || o==s.name)) {
        let setting = s.setting(size, 1);
        let t = std::time::Instant::now();
        let b = bound::bound(&setting);
        let _ = writeln!(o, "== {} turns {} keys {} bound {} ({:?})", s.name, setting.load.turns(), setting.world.keys.len(), b, t.elapsed());
        let k = setting.world.keys.len();
        let all: Vec<Box<dyn Scheduler>> = vec![
            Box::new(Omniscient::new()),
            Box::new(Ours::new(Strategy::RoundRobin, &setting.world, 1)),
            Box::new(Ours::new(Strategy::FillFirst, &setting.world, 1)),
            Box::new(Ours::new(Strategy::LeastLoaded, &setting.world, 1)),
            Box::new(RoundRobin::plain(k)), Box::new(RoundRobin::retrying(k)), Box::new(DisableAfterThree::new(k)),
        ];
        for mut x in all {
            let t = std::time::Instant::now();
            let f = run::run(&setting, &mut *x, &mut |_| {});
            let e = t.elapsed().as_secs_f64();
            for (n, d) in [("first", &f.first), ("later", &f.later)] {
                let _ = writeln!(o, "{:26} {n} offered {:7} served {:7} gave up {:6} refused {:7} attempts {:8} quota {:8} ({:.2}%) other {:6} waited {:6} room {:5} wait mean {:.2} p50 {:.2} p99 {:.2} {:?}", f.name, d.offered, d.served, d.given_up, d.refusals(), d.attempts, d.quota_refused, d.wasted_share()*100., d.otherwise_refused, d.waited, d.true_room, d.wait.mean(), d.wait.quantile(0.5), d.wait.quantile(0.99), d.refused);
            }
            let _ = writeln!(o, "     {:.2}s, {} attempts, {:.0} events/s", e, f.first.attempts+f.later.attempts, f.events as f64/e);
        }
    }
}
