package netns

// Set makes a rule for packets from one host to another.
func (n *Network) Set(from, to Host, l Link) {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	n.router.mu.links[pair{from, to}] = l
}

// Get is the rule for packets from one host to another.
func (n *Network) Get(from, to Host) Link {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	return n.router.mu.links[pair{from, to}]
}

// SetAll makes a rule for all directions between the hosts given; with none, between all that are.
func (n *Network) SetAll(l Link, hosts ...Host) {
	if len(hosts) == 0 {
		hosts = n.Hosts()
	}
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				n.Set(a, b, l)
			}
		}
	}
}

// Mend removes all rules. What is delayed already still arrives.
func (n *Network) Mend() {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	clear(n.router.mu.links)
}

// Cut drops what one host sends to the others; one way only.
func (n *Network) Cut(from Host, to ...Host) {
	for _, h := range to {
		n.Set(from, h, Link{Cut: true})
	}
}

// Counters of what went from one host to another.
func (n *Network) Counters(from, to Host) Counters {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	if c := n.router.mu.counters[pair{from, to}]; c != nil {
		return *c
	}
	return Counters{}
}

// Total sums the counters of all directions that match; match == nil: of all.
func (n *Network) Total(match func(from, to Host) bool) (sum Counters) {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	for p, c := range n.router.mu.counters {
		if match == nil || match(p.from, p.to) {
			sum.add(*c)
		}
	}
	return sum
}

// Watch counts from now on the packets that hold pattern whole, in Counters.Matched.
func (n *Network) Watch(pattern []byte) {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	n.router.mu.watch = pattern
}
