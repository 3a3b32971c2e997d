#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	struct passwd *p = getpwuid(getuid());

	printf("%s of %s, %s\n", p ? p->pw_name : "nobody known", p ? p->pw_dir : "nowhere", access("/bin/sh", F_OK) < 0 ? "no shell" : "a shell");
	return access("/etc/ssl/certs/ca-certificates.crt", R_OK) < 0;
}
