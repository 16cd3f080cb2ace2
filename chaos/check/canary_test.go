package check_test

import (
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
)

func TestCanaryTenant(t *testing.T) {
	a, b := check.CanaryValue("a", "1"), check.CanaryValue("b", "1")
	for value, want := range map[string]string{
		a: "a", b: "b", "x " + a + " y": "a",
		"canary:" + a: "a", "canary:a:" + b: "b", // a mark without its token is none
		"": "", "canary:": "", "canary:a:": "", "canary:b" + a[len("canary:a"):]: "",
	} {
		if got, ok := check.CanaryTenant(value); got != want || ok != (want != "") {
			t.Errorf("%q: the canary of %q, %v; want %q", value, got, ok, want)
		}
	}
	if check.CanaryToken("a") == check.CanaryToken("b") {
		t.Error("two tenants have one token")
	}
}
