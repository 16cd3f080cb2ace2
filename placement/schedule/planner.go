package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Event is something that the planner began or ended: material for the events log.
type Event struct {
	Range proto.RangeID
	Kind  Kind
	Text  string
}

func (e Event) String() string { return fmt.Sprintf("range %d: %s: %s", e.Range, e.Kind, e.Text) }

// Planner is the state machine of decisions: what runs, what rests after a failure, and the notes.
type Planner struct {
	cfg    Config
	tick   uint64
	ops    []*operator // sorted by range id (I5)
	rest   map[proto.RangeID]uint64
	notes  map[proto.RangeID]string
	view   *view // of the last tick
	events []Event
}

// New makes a planner with nothing running. It panics on a config that Validate refuses.
func New(cfg Config) *Planner {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	return &Planner{
		cfg: cfg, rest: map[proto.RangeID]uint64{}, notes: map[proto.RangeID]string{},
		view: newView(&cfg, &Cluster{}),
	}
}

// Tick moves time on by one tick, ends operators that are done or should not go on, and begins new ones. It costs a
// pass over all ranges; the caller may leave ticks out while nothing runs and nothing changed, with Skip.
func (p *Planner) Tick(c *Cluster) []Event {
	p.tick++
	p.view = newView(&p.cfg, c)
	p.notes = map[proto.RangeID]string{}
	p.advance(c)
	for id, until := range p.rest {
		if until <= p.tick {
			delete(p.rest, id)
		}
	}
	p.repair(c)
	p.drainLeaders(c)
	p.balanceLeaders(c)
	p.balanceReplicas(c)
	for _, o := range p.ops {
		if r := c.byID(o.id); r != nil {
			p.noteOperator(o, r)
		}
	}
	events := p.events
	p.events = nil
	return events
}

// Skip moves time on without deciding anything.
func (p *Planner) Skip() { p.tick++ }

// Running is the number of operators that run, and of ranges that rest after one failed: while it is not zero, ticks
// have work to do.
func (p *Planner) Running() int { return len(p.ops) + len(p.rest) }

// Note is what a person should know about a range: what is done with it, or why something is not. Empty: all is well.
func (p *Planner) Note(id proto.RangeID) string { return p.notes[id] }

// Step is what the leader of r should carry out now, or nil. It may be called whenever r was reported.
func (p *Planner) Step(r *Range) *internalpb.AdminRangeRequest {
	i, ok := p.find(r.ID())
	if !ok {
		return nil
	}
	o := p.ops[i]
	if !p.advanceOne(o, r) {
		p.ops = slices.Delete(p.ops, i, i+1)
		return nil
	}
	req, _ := o.request(r, p.view)
	return req
}

func (p *Planner) find(id proto.RangeID) (int, bool) {
	return slices.BinarySearchFunc(p.ops, id, func(o *operator, id proto.RangeID) int { return cmp.Compare(o.id, id) })
}

func (p *Planner) busy(id proto.RangeID) bool {
	if _, resting := p.rest[id]; resting {
		return true
	}
	_, ok := p.find(id)
	return ok
}

func (p *Planner) advance(c *Cluster) {
	keep := p.ops[:0]
	for _, o := range p.ops {
		r := c.byID(o.id)
		if r == nil {
			p.event(o, "cancelled: the range is gone")
			continue
		}
		if !p.advanceOne(o, r) {
			continue
		}
		if o.timedOut(r, p.tick, &p.cfg) {
			fault.Reached("operator-timed-out")
			p.event(o, "timed out: "+o.steps[o.at].String())
			p.rest[o.id] = p.tick + p.cfg.RetryTicks
			continue
		}
		keep = append(keep, o)
		p.view.count(o, r)
	}
	clear(p.ops[len(keep):])
	p.ops = keep
}

// advanceOne answers whether the operator goes on.
func (p *Planner) advanceOne(o *operator, r *Range) bool {
	finished, cancel := o.advance(r, p.tick)
	if cancel == "" && !finished {
		cancel = p.view.refusesLead(o, r)
		for _, store := range o.targets() {
			if p.view.state(store) == Lost {
				cancel = fmt.Sprintf("store %d is lost", store)
			}
		}
	}
	switch {
	case cancel != "":
		fault.Reached("operator-cancelled")
		p.event(o, "cancelled: "+cancel)
		return false
	case finished:
		p.event(o, "done")
		return false
	}
	return true
}

func (p *Planner) event(o *operator, text string) {
	p.events = append(p.events, Event{Range: o.id, Kind: o.kind, Text: text})
}

// begin adds an operator. It is counted in the loads at once.
func (p *Planner) begin(o *operator, r *Range) {
	o.since = p.tick
	i, _ := p.find(o.id)
	p.ops = slices.Insert(p.ops, i, o)
	p.view.count(o, r)
	p.event(o, "begun: "+o.reason)
}

func (p *Planner) note(r *Range, text string) {
	if text != "" {
		p.notes[r.ID()] = text
	}
}

func (p *Planner) noteOperator(o *operator, r *Range) {
	text := string(o.kind) + ": "
	if before := p.notes[o.id]; before != "" {
		text = before + "; " + text
	}
	if o.at < len(o.steps) {
		text += o.steps[o.at].String()
		if _, waits := o.request(r, p.view); waits != "" {
			text += " (" + waits + ")"
		}
	}
	p.notes[o.id] = text + ": " + o.reason
}

// repair looks at the ranges that are not as wanted, the most urgent first, at most ChecksPerTick of them.
func (p *Planner) repair(c *Cluster) {
	left := p.cfg.ChecksPerTick
	for _, level := range p.triage(c) {
		for _, r := range level {
			if _, running := p.find(r.ID()); running {
				continue
			}
			if left == 0 {
				p.notes[r.ID()] = "waits for its turn: more urgent ranges come first"
				continue
			}
			left--
			p.repairOne(r)
		}
	}
}

func (p *Planner) repairOne(r *Range) {
	o, note := p.check(r)
	p.note(r, note)
	if o == nil {
		return
	}
	if until, resting := p.rest[o.id]; resting {
		p.note(r, fmt.Sprintf("%s: tried before without success, again in %d ticks", o.kind, until-p.tick))
		return
	}
	p.begin(o, r)
}

// triage sorts the ranges that are not as wanted by urgency: the system range; those with the fewest live voters; last
// those for which nothing can be done now, because nobody leads them.
func (p *Planner) triage(c *Cluster) [][]*Range {
	levels := make([][]*Range, p.cfg.Replicas+3)
	for _, r := range c.Ranges {
		live, ok := p.view.healthy(r)
		if ok {
			continue
		}
		level := 1 + min(live, p.cfg.Replicas)
		switch {
		case !r.Reported || p.view.state(r.Leader) != Live:
			level = len(levels) - 1
		case r.ID() == proto.SystemRange:
			level = 0
		}
		levels[level] = append(levels[level], r)
	}
	return levels
}
