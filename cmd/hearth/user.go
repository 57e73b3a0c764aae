package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"

	"golang.org/x/term"

	"hearth/broker/access"
	"hearth/hub"
)

// userCommand keeps the users file, beside a hub that runs or does not.
type userCommand struct {
	Add    userAdd    `cmd:"" help:"Let somebody log in, to MQTT and to the page."`
	Passwd userPasswd `cmd:"" help:"Give a user another password."`
	Roles  userRoles  `cmd:"" help:"Say anew what a user may do."`
	Remove userRemove `cmd:"" help:"Let a user log in no more."`
	Import userImport `cmd:"" help:"Take over users and rights from a Mosquitto."`
	List   userList   `cmd:"" help:"Show users and roles, and where each is declared."`
}

// userFlags is shared by all.
type userFlags struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration, which tells where the users file is; default ./config.toml if there is one, else /etc/hearth/config.toml."`
}

// stateFolder is what systemd gives the hub that it runs, and gives nobody else.
const stateFolder = "/var/lib/hearth"

// load reads the configuration for what it says of users. Its other mistakes are
// nobody's business here. Where clients come to another broker the users are of the page
// alone, and may be of both later.
func (f userFlags) load(std streams) (*hub.Config, error) {
	path, err := findConfig(f.Config)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(stateFolder); path == systemConfig && os.Getenv("STATE_DIRECTORY") == "" && err == nil && info.IsDir() {
		os.Setenv("STATE_DIRECTORY", stateFolder)
	}
	cfg, doc := hub.Load(path)
	if !doc.Whole() {
		return nil, complain(std.err, path, doc)
	}
	if err := cfg.Broker.Unread(); err != nil {
		return nil, err
	}
	wrong := 0
	for _, m := range doc.Mistakes() {
		if m.File == cfg.UsersFile() {
			fmt.Fprintln(std.err, m)
			wrong++
		}
	}
	if wrong > 0 {
		return nil, fmt.Errorf("%s has %s", cfg.UsersFile(), count(wrong, "mistake"))
	}
	return cfg, nil
}

// inConfig says whether a user is declared in the configuration itself.
func inConfig(cfg *hub.Config, name string) bool {
	_, ok := cfg.Broker.User[name]
	return ok
}

// passwordFlags say where a password comes from.
type passwordFlags struct {
	Random        bool `xor:"from" help:"Make a password and print it."`
	PasswordStdin bool `xor:"from" help:"Read the password from standard input, one line."`
}

// hash gets a password and gives what stands for it in the files. One that it made
// itself it gives too.
func (f passwordFlags) hash(std streams, name string) (hash, made string, err error) {
	password := []byte(nil)
	switch in, isFile := std.in.(*os.File); {
	case f.Random:
		made = access.RandomPassword()
		password = []byte(made)
	case !f.PasswordStdin && isFile && term.IsTerminal(int(in.Fd())):
		if password, err = ask(std.err, in, "Password of "+harmless([]byte(name))+": "); err != nil {
			return "", "", err
		}
		again, err := ask(std.err, in, "Again: ")
		if err != nil {
			return "", "", err
		}
		if !bytes.Equal(password, again) {
			return "", "", errors.New("the two are not the same, so nothing was changed")
		}
	default:
		line, err := bufio.NewReader(io.LimitReader(std.in, 4096)).ReadBytes('\n')
		if err != nil && err != io.EOF {
			return "", "", err
		}
		password = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	}
	switch {
	case len(password) == 0:
		return "", "", errors.New("the password is empty, want one of at least one character, or --random")
	case len(password) > 1024:
		return "", "", errors.New("the password is too long, want at most 1024 bytes")
	}
	return access.Hash(password), made, nil
}

// ask reads a line that the terminal does not show. Whoever interrupts it gets a
// terminal back that shows again what is typed.
func ask(w io.Writer, in *os.File, prompt string) ([]byte, error) {
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	interrupted := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-done:
		case sig := <-interrupted:
			term.Restore(fd, before)
			fmt.Fprintln(w)
			signal.Reset()
			syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		}
	})
	defer func() {
		signal.Stop(interrupted)
		close(done)
		beside.Wait()
		fmt.Fprintln(w)
	}()
	fmt.Fprint(w, prompt)
	return term.ReadPassword(fd)
}

// reloadHint says how a hub that runs hears of a change.
const reloadHint = "A hub that runs takes it up with: hearth reload\n"

type userAdd struct {
	userFlags
	passwordFlags
	Name string   `arg:"" help:"The user's name."`
	Role []string `placeholder:"ROLE" help:"What the user may do: a role of the configuration or the users file, or admin. May be repeated."`
}

func (c *userAdd) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	if inConfig(cfg, c.Name) {
		return fmt.Errorf("user %q is in the configuration already, as [broker.user.%s]", c.Name, c.Name)
	}
	if err := knownRoles(cfg, c.Role); err != nil {
		return err
	}
	hash, made, err := c.hash(std, c.Name)
	if err != nil {
		return err
	}
	if err := access.AddUser(cfg.UsersFile(), c.Name, hash, c.Role); err != nil {
		return fmt.Errorf("user %q: %w", c.Name, err)
	}
	fmt.Fprintf(std.err, "User %s is in %s.\n", c.Name, cfg.UsersFile())
	if len(c.Role) == 0 {
		fmt.Fprintf(std.err, "It has no role, so it may connect and do nothing else; hearth user roles %s ROLE gives it one.\n", c.Name)
	}
	tellConnect(std, cfg)
	io.WriteString(std.err, reloadHint)
	return printMade(std, made)
}

// tellConnect says of a house whose clients come to another broker what its users are for.
func tellConnect(std streams, cfg *hub.Config) {
	if other := cfg.Broker.Connect; other != nil {
		fmt.Fprintf(std.err, "It is for the page: by broker.connect clients come to %s, which has users of its own.\n", other.Address)
	}
}

func knownRoles(cfg *hub.Config, roles []string) error {
	for _, role := range roles {
		if fault := cfg.Broker.RoleFault(role); fault != "" {
			return fmt.Errorf("role %q: %s", role, fault)
		}
	}
	return nil
}

type userRoles struct {
	userFlags
	Name string   `arg:"" help:"The user's name."`
	Role []string `arg:"" optional:"" help:"All that the user has from now on; none: it may do nothing."`
}

func (c *userRoles) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	if inConfig(cfg, c.Name) {
		return fmt.Errorf("user %q is declared in the configuration, as [broker.user.%s]: say it there", c.Name, c.Name)
	}
	if err := knownRoles(cfg, c.Role); err != nil {
		return err
	}
	if err := access.SetRoles(cfg.UsersFile(), c.Name, c.Role); err != nil {
		return fmt.Errorf("user %q: %w", c.Name, err)
	}
	has := "no role"
	if len(c.Role) > 0 {
		has = strings.Join(c.Role, ", ")
	}
	fmt.Fprintf(std.err, "User %s has %s now.\n%s", c.Name, has, reloadHint)
	return nil
}

// printMade prints a password, alone on standard output.
func printMade(std streams, made string) error {
	if made == "" {
		return nil
	}
	_, err := fmt.Fprintln(std.out, made)
	return err
}

type userPasswd struct {
	userFlags
	passwordFlags
	Name string `arg:"" help:"The user's name."`
}

func (c *userPasswd) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	hand := inConfig(cfg, c.Name)
	if !hand && !hasUser(cfg, c.Name) {
		return fmt.Errorf("user %q: %w, neither in the configuration nor in %s", c.Name, access.ErrMissing, cfg.UsersFile())
	}
	hash, made, err := c.hash(std, c.Name)
	if err != nil {
		return err
	}
	if hand {
		// The configuration is the owner's; nothing here writes to it.
		fmt.Fprintf(std.err, "This user is declared in the configuration: put this line under [broker.user.%s].\n", c.Name)
		fmt.Fprintln(std.out, access.Line(hash))
		if made != "" {
			fmt.Fprintf(std.err, "The password is %s\n", made)
		}
		return nil
	}
	if err := access.SetPassword(cfg.UsersFile(), c.Name, hash); err != nil {
		return fmt.Errorf("user %q: %w", c.Name, err)
	}
	fmt.Fprintf(std.err, "User %s has another password.\n%s", c.Name, reloadHint)
	return printMade(std, made)
}

func hasUser(cfg *hub.Config, name string) bool {
	for _, u := range cfg.Broker.AllUsers("") {
		if u.Name == name {
			return true
		}
	}
	return false
}

type userRemove struct {
	userFlags
	Name string `arg:"" help:"The user's name."`
}

func (c *userRemove) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	if inConfig(cfg, c.Name) {
		return fmt.Errorf("user %q is declared in the configuration, as [broker.user.%s]: take it out there", c.Name, c.Name)
	}
	if err := access.RemoveUser(cfg.UsersFile(), c.Name); err != nil {
		return fmt.Errorf("user %q: %w", c.Name, err)
	}
	fmt.Fprintf(std.err, "User %s is gone.\n%s", c.Name, reloadHint)
	return nil
}

type userImport struct {
	userFlags
	Passwd  string `placeholder:"FILE" help:"Mosquitto's file of passwords, which mosquitto_passwd keeps."`
	ACL     string `name:"acl" placeholder:"FILE" help:"Mosquitto's file of rights. None: everybody may do everything, as there."`
	Replace bool   `help:"Also users and roles of the users file that are there already, in place of what they are."`
	DryRun  bool   `help:"Print what would be in the users file, and change nothing."`
	Conf    string `arg:"" optional:"" placeholder:"MOSQUITTO.CONF" help:"Mosquitto's configuration, which names the two files."`
}

// Run says of each line that means something else here, or nothing, what becomes of it.
func (c *userImport) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	if c.Conf == "" && c.Passwd == "" {
		return usageError{errors.New("want a mosquitto.conf, or --passwd FILE and --acl FILE")}
	}
	moved, err := access.Mosquitto{Conf: c.Conf, Passwd: c.Passwd, ACL: c.ACL}.Read()
	if err != nil {
		return err
	}
	lost := 0
	for _, n := range moved.Notes {
		fmt.Fprintln(std.err, harmless([]byte(n.String())))
		if n.Lost {
			lost++
		}
	}
	for name := range moved.User {
		if inConfig(cfg, name) {
			fmt.Fprintf(std.err, "User %s stays as it is: it is in the configuration, as [broker.user.%s].\n", harmless([]byte(name)), harmless([]byte(name)))
			delete(moved.User, name)
		}
	}
	for name := range moved.Role {
		if _, ok := cfg.Broker.Role[name]; ok {
			return fmt.Errorf("role %q is in the configuration, as [broker.role.%s]: one of the two has to go", name, name)
		}
	}
	if c.DryRun {
		_, err := io.WriteString(std.out, moved.Text())
		return err
	}
	kept, err := moved.Save(cfg.UsersFile(), c.Replace)
	if err != nil {
		return err
	}
	for _, name := range kept {
		fmt.Fprintf(std.err, "User %s stays as it is, for it is there already; --replace would take Mosquitto's.\n", harmless([]byte(name)))
	}
	fmt.Fprintf(std.err, "%s of Mosquitto's in %s.\n", count(len(moved.User)-len(kept), "user"), cfg.UsersFile())
	if lost > 0 {
		fmt.Fprintf(std.err, "Look at what is not moved: %s, above.\n", count(lost, "line"))
	}
	fmt.Fprintln(std.err, "A client that subscribes to more than it may read is refused here; Mosquitto lets it, and sends it less.")
	if other := cfg.Broker.Connect; other != nil {
		fmt.Fprintf(std.err, "They count once clients come here: stop %s, put listen in place of broker.connect, then hearth reload.\n", other.Address)
		return nil
	}
	io.WriteString(std.err, reloadHint)
	return nil
}

type userList struct{ userFlags }

func (c *userList) Run(std streams) error {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "USER\tROLES\tDECLARED IN")
	for _, u := range cfg.Broker.AllUsers(cfg.UsersFile()) {
		roles := strings.Join(u.Value.Roles, ", ")
		if roles == "" {
			roles = "none: may do nothing"
		}
		if u.Value.Password == "" {
			roles += " (by certificate only)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", harmless([]byte(u.Name)), harmless([]byte(roles)), u.Where)
	}
	fmt.Fprintln(w, "\nROLE\tPUBLISH\tSUBSCRIBE\tPAGE\tEXCEPT\tDECLARED IN")
	for _, r := range cfg.Broker.AllRoles(cfg.UsersFile()) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", harmless([]byte(r.Name)), rules(r.Value.Publish), rules(r.Value.Subscribe), cmp.Or(r.Value.Page, "nothing"), rules(r.Value.Except), r.Where)
	}
	if cfg.Broker.AnonymousAllowed() {
		fmt.Fprintln(w, "\nClients of this machine need no login (anonymous = true).")
	}
	return w.Flush()
}

func rules(filters []string) string {
	if len(filters) == 0 {
		return "nothing"
	}
	return harmless([]byte(strings.Join(filters, " ")))
}
