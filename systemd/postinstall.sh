#!/bin/sh
# After an update the running hub is replaced; a new one waits until its owner
# has described the house and enables it.
set -e
if [ -d /run/systemd/system ]; then
	systemd-sysusers
	udevadm control --reload && udevadm trigger --subsystem-match=gpio --subsystem-match=misc --subsystem-match=watchdog || true
	systemctl daemon-reload
	systemctl try-restart hearth.service
fi
