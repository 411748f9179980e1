//! A sandbox program whose engine is an attacker.

use sandpiper_sandbox::enter_if_asked;
use sandpiper_sandbox_attackers::Attacker;

fn main() {
    enter_if_asked::<Attacker>();
}
