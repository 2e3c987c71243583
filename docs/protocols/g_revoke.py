"""(g) a revoke that idxdd-irq is killed in, and a dead owner at the gate.
One client submits D with an interrupt; the device has given the WQ another handle: a descriptor that carries the old one
ends 0x19 and raises nothing. idxdd-irq may be killed before each of its stores, K times; its successor reopens the gate,
runs the handler once and goes on with the work that is queued. The owner may die at any step, also inside the gate."""
from mc import *

def revoke(owed, reopen, pidfd, confirm, K=2):
    """owed: None, "before" or "after" the handle is switched. reopen: the successor reopens a gate that was held.
    pidfd: a dead owner counts as outside. confirm: the fence of a channel whose owner is gone is confirmed at once."""
    init = state(ins=0, gate=1, pub=0, owed=0, queued=1, c="a", slot=-1, tail=0, d="none", drain=0, irq=0, done=0, r="ask",
                 k=K, asked=0, fenced=0)
    def succ(s):
        c, r = s.c, s.r
        alive = c not in ("end", "dead")
        if alive and r != "idle": yield "C dies", s._replace(c="dead")
        if c == "a": yield "C in_submit=1", s._replace(ins=1, c="g")
        if c == "g":
            if s.gate: yield "C reads gate open", s._replace(c="h")
            else: yield "C reads gate closed, in_submit=0", s._replace(ins=0, c="w")
        if c == "w" and s.gate: yield "C wakes", s._replace(c="a")
        if c == "h": yield f"C stamps handle {s.pub}", s._replace(slot=s.pub, c="t")
        if c == "t" and s.fenced: yield "C finds its portal closed, fails D itself", s._replace(done=s.done + 1, ins=0, c="end")
        if c == "t" and not s.fenced: yield "C lists and publishes D", s._replace(tail=1, d="queued", c="o")
        if c == "o": yield "C in_submit=0", s._replace(ins=0, c="end")
        # device: the drain comes after everything published before it
        if s.d == "queued":
            if s.slot == 1: yield "dev finishes D, interrupt", s._replace(d="ok", irq=1)
            else: yield "dev finishes D with 0x19, no interrupt", s._replace(d="0x19")
        if s.drain == 1 and s.d != "queued": yield "dev finishes the drain, interrupt", s._replace(drain=0, irq=1)
        if s.asked == 1 and (confirm or c != "dead"):
            swept = s.tail and not s.done  # the portal is closed, its lists are swept
            yield "idxdd confirms the fence", s._replace(asked=2, fenced=1, done=s.done + swept, d="dropped" if swept else s.d)
        # idxdd-irq
        if s.irq and r != "down": yield "I wq_thread", s._replace(irq=0, done=s.done + (s.d in ("ok", "0x19") and not s.done))
        inside = s.ins and not (pidfd and c == "dead")
        step = {
            "ask": ("the handle is new", dict(r="close")) if s.pub == 0 else ("the handle is the published one", dict(r="same")),
            "same": ("reopens a held gate", dict(gate=s.gate or int(reopen), r="drain" if s.owed else "over")),
            "close": ("gate=closed", dict(gate=0, r="wait")),
            "wait": ("sees nobody inside", dict(r="owe")) if not inside else ("100 ms are over: fence", dict(asked=1, r="fence")),
            "fence": ("fenced", dict(ins=0, r="owe")) if s.asked == 2 else None,
            "owe": ("drain_owed=1", dict(owed=1, r="switch")) if owed == "before" else ("goes on", dict(r="switch")),
            "switch": ("handle=new", dict(pub=1, r="owe2")),
            "owe2": ("drain_owed=1", dict(owed=1, r="open")) if owed == "after" else ("goes on", dict(r="open")),
            "open": ("gate=open", dict(gate=1, r="drain")),
            "drain": ("submits the drain", dict(drain=1, r="paid")),
            "paid": ("drain_owed=0", dict(owed=0, r="over")),
            "over": ("the work is over", dict(queued=0, r="idle")),
            "down": ("a successor reopens, runs the handler, goes on", dict(gate=s.gate or int(reopen), irq=1, asked=0, r="ask" if s.queued else "idle")),
        }.get(r)
        if step: yield f"I {step[0]}", s._replace(**step[1])
        if s.k and r not in ("down", "idle"): yield "I is killed", s._replace(r="down", k=s.k - 1)
    def bad(s):
        if s.done > 1: return "D completed twice"
    def final(s):
        if s.r == "fence": return "the fence of a dead owner is never confirmed: the revoke never ends"
        if s.c == "w": return "the submitter waits at a gate that nobody opens"
        if s.tail and not s.done and s.c == "end": return f"D never completed ({s.d})"
    return init, succ, bad, final

for nm, a, ex in (("g1 what a drain is owed for is nowhere stored", (None, True, True, True), "hole"),
                  ("g2 drain_owed stored after the switch", ("after", True, True, True), "hole"),
                  ("g3 drain_owed before the switch, a successor leaves a held gate as it was", ("before", False, True, True), "hole"),
                  ("g4 a dead owner inside is fenced, and nobody confirms it", ("before", True, False, False), "hole"),
                  ("g5 drain_owed before the switch, gate reopened, a dead owner is outside", ("before", True, True, True), "clean"),
                  ("g6 the same without a look at the pidfd: fenced, confirmed at once", ("before", True, False, True), "clean")):
    i, su, b, f = revoke(*a)
    check(nm, i, su, b, f, expect=ex)
