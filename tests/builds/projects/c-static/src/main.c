#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct stat st;

	printf("hello %s from %s as %d, %s\n", argc > 1 ? argv[1] : "nobody", BUILT_FOR, (int)getuid(), stat("/etc", &st) < 0 ? "alone" : "not alone");
	return 0;
}
