package tenant

// CachedForTest is the number of entries in the cache.
func (a *Authenticator) CachedForTest() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.mu.entries)
}
