package live

import "os/exec"

// guardCommand is the guard in a session of its own: what the terminal sends to the run does not reach it.
func guardCommand(argv []string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = apart()
	return cmd
}
