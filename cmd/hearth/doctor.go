package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"hearth/control"
	"hearth/doctor"
	"hearth/hub"
)

// doctorCommand asks the hub how it and its machine are doing. Where none runs it looks at
// the machine and the configuration itself.
type doctorCommand struct {
	JSON bool `name:"json" help:"For scripts."`
	hubFlags
}

// Run prints what is not as it should be, the worst first; that something is bad, and no
// less, is a failure.
func (c *doctorCommand) Run(ctx context.Context, std streams) error {
	h, err := c.find()
	if err != nil {
		return err
	}
	var r doctor.Report
	raw, err := h.Health(ctx)
	switch {
	case errors.Is(err, control.ErrNobody) && h.cfg.Free() == nil:
		bank, simulated, err := openBank(false)
		if err != nil {
			return err
		}
		r.Hub = h.cfg.Doctor(hub.Options{Bank: bank, Simulated: simulated})
		r.Machine = doctor.Look("/", h.data)
	case err != nil:
		return h.because(err)
	default:
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("the hub's answer was not understood: %w", err)
		}
	}
	_, doc := hub.Load(h.config)
	r.Hub.Mistakes, r.Hub.Warnings = len(doc.Mistakes()), len(doc.Warnings())
	r.Findings = doctor.Examine(r.Machine, r.Hub)
	if c.JSON {
		err = printJSON(std.out, r)
	} else {
		err = c.print(std.out, r, h.data)
	}
	if err == nil && doctor.Worst(r.Findings) == doctor.Bad {
		err = exitStatus(1)
	}
	return err
}

func (c *doctorCommand) print(w io.Writer, r doctor.Report, data string) error {
	if !r.Hub.Running {
		fmt.Fprintf(w, "no hub runs on %s: this is from the machine and the configuration\n", data)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, wrap(fmt.Sprintf("%-9s", f.Level), harmless([]byte(f.What)), 79))
		fmt.Fprintln(w, wrap("         ", harmless([]byte(f.Do)), 79))
	}
	if len(r.Findings) == 0 {
		_, err := fmt.Fprintln(w, "all is well")
		return err
	}
	_, err := fmt.Fprintln(w, count(len(r.Findings), "finding"))
	return err
}
