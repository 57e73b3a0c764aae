// Command hearth is the hub of a home: an MQTT broker, rules, the pins of a
// Raspberry Pi and a page, in one program.
//
//	hearth serve      runs the house that config.toml describes
//	hearth check      says what is wrong with a config.toml
//	hearth test       runs its tests on a virtual clock
//	hearth replay     lets what happened happen again, also with other rules
//	hearth record     writes what happened into a file, for a bug report
//	hearth pub, sub   a small MQTT client, to try it with
//	hearth clients    who is connected to the broker of the hub that runs
//	hearth retained   its retained values, to look at and to delete
//	hearth devices    the devices that have announced themselves
//	hearth device     puts a device into the place of one that broke
//	hearth set        tells an output or a device something
//	hearth history    what was recorded, as a table, a chart or numbers; export to files
//	hearth doctor     what is not as it should be, and what helps
//	hearth reload     has it read its configuration anew
//	hearth backup     saves the house in a file, while it runs
//	hearth restore    brings one onto this machine
//	hearth import     turns automations of Home Assistant and rules of Tasmota into TOML
//	hearth gpio       shows the pins, and tries one by hand
//	hearth user       keeps who may log in
//	hearth token      keeps the tokens of programs that use the page's API
//	hearth tls        makes certificates for the page, in a house that has none
//	hearth safe       outputs to their safe state, after a crash
//	hearth version
//
// What happens is in package hub; here are flags and signals, and what a person
// at a terminal or systemd is told. Each command has a file of its own;
// testdata has a session with each that reads like documentation.
//
// The exit status is 0 when all went well, 1 when something did not, 2 when the
// command line makes no sense, and 3 when hearth import left something out. That of
// hearth replay is as of diff: 0 when nothing differs, 1 when something does, 2 for trouble.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version string

type commands struct {
	Serve    serveCommand    `cmd:"" help:"Run the house."`
	Check    checkCommand    `cmd:"" help:"Say what is wrong with a configuration."`
	Test     testCommand     `cmd:"" help:"Run the tests of a configuration on a virtual clock."`
	Replay   replayCommand   `cmd:"" help:"Let what happened happen again, also with other rules, and say what would have been different; nothing is sent."`
	Record   recordCommand   `cmd:"" help:"Write what happened into a file, without secrets, to be replayed elsewhere."`
	Pub      pubCommand      `cmd:"" help:"Publish one MQTT message."`
	Sub      subCommand      `cmd:"" help:"Print MQTT messages as they come."`
	Clients  clientsCommand  `cmd:"" help:"Show who is connected to the hub that runs here, and who is away."`
	Retained retainedCommand `cmd:"" help:"Show the retained values of the hub that runs here; hearth retained clear FILTER deletes some."`
	Devices  devicesCommand  `cmd:"" help:"Show the devices that have announced themselves, or all of one."`
	Device   deviceCommand   `cmd:"" help:"Replace a device that broke: hearth device replace OLD NEW."`
	Set      setCommand      `cmd:"" help:"Tell an output or a device a value, such as: hearth set hall_lamp.brightness 40."`
	History  historyCommand  `cmd:"" help:"Show what was recorded: values, a chart, numbers."`
	Export   exportCommand   `cmd:"" help:"Write what was recorded to files."`
	Reload   reloadCommand   `cmd:"" help:"Have the hub that runs here read its configuration anew."`
	Why      whyCommand      `cmd:"" help:"Say why something is as it is: the chain back to what started it, and the rules that could have done otherwise."`
	Doctor   doctorCommand   `cmd:"" help:"Say what is not as it should be with the hub, its machine and its configuration, and what helps."`
	Backup   backupCommand   `cmd:"" help:"Save the house in a file, while it runs or not; hearth backup verify FILE looks at one."`
	Restore  restoreCommand  `cmd:"" help:"Bring a house from a backup onto this machine."`
	Import   importCommand   `cmd:"" help:"Turn automations of Home Assistant or rules of Tasmota into TOML."`
	GPIO     gpioCommand     `cmd:"" name:"gpio" help:"Show the pins and who holds them; hearth gpio test NAME tries one."`
	User     userCommand     `cmd:"" help:"Keep the users who may log in to MQTT and to the page."`
	Token    tokenCommand    `cmd:"" help:"Keep the tokens of programs that use the page's API."`
	TLS      tlsCommand      `cmd:"" name:"tls" help:"Make certificates for the page, in a house that has none."`
	Safe     safeCommand     `cmd:"" help:"Switch the outputs to their safe state while no hub runs."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// called is the program with the command that was meant, as far as there is such a one.
func called(parser *kong.Kong, args []string) string {
	for _, c := range parser.Model.Children {
		if c.Name == args[0] {
			return "hearth " + c.Name
		}
	}
	return "hearth"
}

// streams is where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// A usageError is a command line that makes no sense, beyond what kong sees.
type usageError struct{ error }

// negative is what kong says of a number below zero where it looks for a flag.
var negative = regexp.MustCompile(`unknown flag -[0-9.]`)

// grammar is what kong is told of: all commands, but for a start of the hub, which
// makes outputs safe, and for hearth safe only those. Reading the tags of the others is
// a quarter of the time until outputs of a house with a broken configuration are safe.
func grammar(args []string) any {
	if len(args) > 0 && (args[0] == "serve" || args[0] == "safe") {
		return &struct {
			Serve serveCommand `cmd:"" help:"Run the house."`
			Safe  safeCommand  `cmd:"" help:"Switch the outputs to their safe state while no hub runs."`
		}{}
	}
	return &commands{}
}

func main() {
	args := longFlags(os.Args[1:])
	parser := kong.Must(grammar(args),
		kong.Name("hearth"),
		kong.Description("The hub of a home: MQTT broker, rules and pins in one program."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help": // hearth help set
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		if negative.MatchString(err.Error()) {
			err = errors.New("a value that begins with a - stands after --, as in: hearth set NAME -- -5")
		}
		fmt.Fprintf(os.Stderr, "hearth: %v\n%s --help shows how it is used.\n", err, called(parser, args))
		os.Exit(2)
	}
	// The first signal asks for an orderly end. After it signals do what they do
	// to any program, so a second one ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if command, _, _ := strings.Cut(parsed.Command(), " "); command == "check" || command == "test" || command == "user" || command == "token" || command == "tls" || command == "import" || command == "restore" {
		stop() // they have nothing to end in order
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(streams{os.Stdin, os.Stdout, os.Stderr}); err != nil {
		var status exitStatus
		if errors.As(err, &status) {
			os.Exit(int(status))
		}
		fmt.Fprintf(os.Stderr, "hearth: %s\n", harmlessLines(err.Error()))
		if errors.As(err, new(usageError)) || errors.As(err, new(troubleError)) {
			os.Exit(2)
		}
		if errors.As(err, new(partialError)) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}
