//! A sandbox program whose engine is an attacker.

use sandpiper_sandbox::enter_if_requested;
use sandpiper_sandbox_attackers::Attacker;

fn main() {
    enter_if_requested::<Attacker>();
}
