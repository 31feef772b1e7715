"""A person moves the body: keyboard, gamepad or leader arm, instead of a policy or over one."""
