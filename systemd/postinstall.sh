#!/bin/sh
# After an update the running hub is replaced; a new one waits until its owner
# has described the house and enables it.
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers hearth.conf
fi

# The page edits the configuration, so its folders are for the hub's group to write to, and
# what is made there belongs to that group. Others may as much as before. Only where all is
# still root's, so once: who takes it back keeps it, and root gives nothing away by a name that
# the hub could have made a link. A folder in it that root keeps to itself stays so.
etc=/etc/hearth
roots="-user root -group root ! -perm /002 ! -path */.*"
set -f
if getent group hearth >/dev/null && [ -n "$(find $etc -maxdepth 0 -type d $roots 2>/dev/null)" ]; then
	[ ! -e $etc/config.toml ] || find $etc/config.toml -maxdepth 0 -type f $roots -exec chgrp hearth {} +
	find $etc -depth -type d $roots "(" -path $etc -o -perm -0050 ")" -exec chgrp hearth {} + -exec chmod g+rwxs {} +
fi

if [ -d /run/systemd/system ]; then
	udevadm control --reload && udevadm trigger --subsystem-match=gpio --subsystem-match=misc --subsystem-match=watchdog || true
	systemctl daemon-reload
	systemctl try-restart hearth.service
fi
