"""The syscall server: admission of programs, and the socket calls that are not user space."""
