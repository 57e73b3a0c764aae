package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"hearth/broker/access"
	"hearth/hub"
)

// tokenCommand keeps the tokens of programs in the users file, beside a hub that runs or
// does not.
type tokenCommand struct {
	Add    tokenAdd    `cmd:"" help:"Make a token for a program, and print it once."`
	List   tokenList   `cmd:"" help:"Show which tokens there are and what they may do."`
	Remove tokenRemove `cmd:"" help:"Let the program with a token in no more."`
}

type tokenAdd struct {
	userFlags
	Name string   `arg:"" help:"What the token is for, such as: display."`
	Role []string `placeholder:"ROLE" help:"What it may do on the page: see, use, change, or a role of yours. May be repeated."`
}

func (c *tokenAdd) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	if len(c.Role) == 0 {
		return usageError{errors.New("want what the token may do, such as --role see")}
	}
	if err := knownRoles(cfg, c.Role); err != nil {
		return err
	}
	if !anyPage(cfg, c.Role) {
		fmt.Fprintf(std.err, "warning: none of these roles allows anything on the page, so the token does nothing: see, use and change do.\n")
	}
	secret, hash := access.NewToken()
	if err := access.AddToken(cfg.UsersFile(), c.Name, hash, c.Role); err != nil {
		return fmt.Errorf("token %q: %w", c.Name, err)
	}
	fmt.Fprintf(std.err, "The token %s is told this once; a program sends it as Authorization: Bearer TOKEN.\n%s", c.Name, reloadHint)
	return printMade(std, secret)
}

// anyPage says whether one of some roles allows something on the page.
func anyPage(cfg *hub.Config, roles []string) bool {
	for _, r := range cfg.Broker.AllRoles("") {
		if r.Value.Page != "" && slices.Contains(roles, r.Name) {
			return true
		}
	}
	return false
}

type tokenList struct{ userFlags }

func (c *tokenList) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TOKEN\tROLES")
	for _, t := range cfg.Broker.AllTokens() {
		fmt.Fprintf(w, "%s\t%s\n", harmless([]byte(t.Name)), harmless([]byte(strings.Join(t.Value.Roles, ", "))))
	}
	return w.Flush()
}

type tokenRemove struct {
	userFlags
	Name string `arg:"" help:"The token's name."`
}

func (c *tokenRemove) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	if err := access.RemoveToken(cfg.UsersFile(), c.Name); err != nil {
		return fmt.Errorf("token %q: %w", c.Name, err)
	}
	fmt.Fprintf(std.err, "The token %s is gone.\n", c.Name)
	_, err = io.WriteString(std.err, reloadHint)
	return err
}
