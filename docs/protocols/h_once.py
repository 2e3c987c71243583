"""(h) once, across kills of idxdd-irq: its own portal's resubmissions, event-log works and their copies; (h4) whose turn it is
when a WQ is full. idxdd-irq may be killed before each of its stores, K times."""
from mc import *

def resubmit(record, position, K=2):
    """D ended 0x19. record: the ticket is stored before its status is cleared. position: with it the portal's number for it."""
    init = state(status=0x19, rec=0, pos=0, tail=0, runs=0, r="take", k=K)
    def succ(s):
        if s.tail > s.runs: yield "dev does D", s._replace(runs=s.runs + 1, status=1)
        step = {
            "take": ("meets 0x19", dict(r="pos")) if s.status == 0x19 else None,
            "pos": ("position = the portal's tail", dict(pos=s.tail if position else 0, r="rec")),
            "rec": ("record = D", dict(rec=int(record), r="clear")),
            "clear": ("status=0", dict(status=0, r="put")),
            "put": ("slot and tail", dict(tail=s.tail + 1, r="free")),
            "free": ("record = none", dict(rec=0, r="idle")),
        }.get(s.r)
        if step: yield f"I {step[0]}", s._replace(**step[1])
        if s.r == "down":
            if not s.rec: yield "a successor: no record, D is on its list", s._replace(r="take" if s.status == 0x19 else "idle")
            elif position and s.tail > s.pos: yield "a successor: it was published", s._replace(rec=0, r="idle")
            else: yield "a successor: submits D again", s._replace(r="pos")
        if s.k and s.r not in ("down", "idle"): yield "I is killed", s._replace(r="down", k=s.k - 1)
    def bad(s):
        if s.runs > 1: return "D is done twice"
    def final(s):
        if s.runs == 0: return f"D is never done (status {s.status:#x})"
    return init, succ, bad, final

for nm, a, ex in (("h1 a resubmission without a record", (False, False), "hole"),
                  ("h1 with a record, without its place in the portal", (True, False), "hole"),
                  ("h1 record and place, both before the status is cleared", (True, True), "clean")):
    i, su, b, f = resubmit(*a); check(nm, i, su, b, f, expect=ex)

def log(numbered, request, K=2):
    """One event-log entry. numbered: a work is a record under its entry's number. request: idxdd copies once a number."""
    init = state(head=0, works=(), made=0, copies=0, asked=0, used=0, r="pass", w="idle", k=K)
    def succ(s):
        # client: sees its record, uses it again; from then on nobody may write it
        if s.copies and not s.used: yield "C uses its record again", s._replace(used=1)
        if s.r == "pass" and not s.head:
            n = s.works if (numbered and s.made) else s.works + (s.made,)
            yield "I makes a work of the entry", s._replace(works=n, made=s.made + 1, r="head")
        if s.r == "head": yield "I moves head", s._replace(head=1, r="idle")
        if s.r == "pass" and s.head: yield "I finds nothing", s._replace(r="idle")
        if s.w == "idle" and s.works and s.r != "down": yield "I asks for the copy", s._replace(w="asked")
        if s.w == "asked" and s.r != "down":
            if request and s.asked: yield "idxdd: that number was done", s._replace(w="done")
            else: yield "idxdd copies", s._replace(copies=s.copies + 1, asked=1, w="done" if not s.used else "late")
        if s.w == "done" and s.r != "down": yield "I frees the work", s._replace(works=s.works[1:], w="idle")
        if s.r == "down": yield "a successor: pass again, works again", s._replace(r="pass")
        if s.k and s.r != "down" and (s.works or not s.head): yield "I is killed", s._replace(r="down", w="idle" if s.w != "late" else "late", k=s.k - 1)
    def bad(s):
        if s.w == "late": return "a record that its client has used again is written over"
    def final(s):
        if not s.copies: return "the record is never delivered"
    return init, succ, bad, final

for nm, a, ex in (("h2 a work a pass, copies by the entry's number", (False, True), "clean"),
                  ("h2 works by number, copies without one", (True, False), "hole"),
                  ("h3 works and copies by number", (True, True), "clean")):
    i, su, b, f = log(*a); check(nm, i, su, b, f, expect=ex)

def starving(queue, P=3, bound=2):
    """A WQ of one slot, P portals that want it again and again. queue: freed room goes to who was turned away first."""
    init = state(slot=-1, line=(), over=(0,) * P)
    def succ(s):
        for p in range(P):
            if s.slot != p and p not in s.line: yield f"portal {p} is turned away", s._replace(line=s.line + (p,))
        if s.slot >= 0: yield "the slot is free", s._replace(slot=-1)
        if s.slot < 0:
            for n, p in enumerate(s.line):
                if queue and n: break
                over = tuple(0 if q == p else min(bound + 1, s.over[q] + (q in s.line)) for q in range(P))
                yield f"granted to portal {p}", s._replace(slot=p, line=s.line[:n] + s.line[n + 1:], over=over)
    def bad(s):
        if max(s.over) > bound: return f"a portal was overtaken more than {bound} times"
    return init, succ, bad

for nm, q, ex in (("h4 freed room goes to any that wants it", False, "hole"), ("h4 to who was turned away first", True, "clean")):
    i, su, b = starving(q); check(nm, i, su, b, expect=ex)
