"""RoboCasa-GR1: 24 tabletop tasks of a humanoid's arms, hands and waist."""
